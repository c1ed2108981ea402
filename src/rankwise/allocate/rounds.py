"""Rounds of a search: the trials that are suggested together, known before the search runs."""


def plan_rounds(trials: int, q: int) -> list[list[int]]:
    """Return the trials of every round, ``q`` at a time; the last round may have fewer."""
    return [list(range(begin, min(begin + q, trials))) for begin in range(0, trials, q)]
