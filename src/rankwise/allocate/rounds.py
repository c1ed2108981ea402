"""Rounds of a search: which trials are suggested at once, known before anything runs."""


def plan_rounds(trials: int, q: int) -> list[list[int]]:
    """Return the trials of every round, ``q`` at a time, the last with what is left."""
    return [list(range(begin, min(begin + q, trials))) for begin in range(0, trials, q)]
