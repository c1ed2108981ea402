"""Which runs are the best of their budget, as far as the test text and the items tell."""

from rankwise.errors import RankwiseError
from rankwise.evaluate.paired import pair_runs
from rankwise.params.names import DENSE
from rankwise.params.report import Report
from rankwise.params.sample import FURTHER
from rankwise.records.pairs import Difference
from rankwise.results.run import RunResult


def mark_best(results: list[RunResult], settings: Report) -> set[tuple[str, str]]:
    """Return (run, column) where a run is the best of those with the same budget.

    So are all that cannot be told from the best one: whose paired interval against it holds zero.
    """
    marks = set()
    for rivals in group_by_budget(results):
        marks |= {(name, "perplexity") for name in _find_leaders(rivals, "test", settings)}
        for text in rivals[0].scores.further:
            role = f"{FURTHER}{text}"
            marks |= {(name, role) for name in _find_leaders(rivals, role, settings)}
        if rivals[0].scores.zero_shot:
            marks |= {(name, "zero_shot_average") for name in _find_leaders(rivals, None, settings)}
    return marks


def group_by_budget(results: list[RunResult]) -> list[list[RunResult]]:
    """Return the runs of every budget that several share, budgets in the order in which they come."""
    runs = [result for result in results if result.name != DENSE]
    budgets = dict.fromkeys(run.scores.asked for run in runs)
    groups = ([run for run in runs if run.scores.asked == budget] for budget in budgets)
    return [rivals for rivals in groups if len(rivals) > 1]


def _find_leaders(rivals: list[RunResult], role: str | None, settings: Report) -> set[str]:
    """Return the best of ``rivals`` on a text, or by the zero-shot average, and those like it."""

    def standing(run: RunResult) -> float:
        if role is not None:
            losses = run.items.texts[role].losses
            return sum(losses) / len(losses)
        return -(run.scores.zero_shot_average or 0.0)

    first = min(rivals, key=standing)
    return {first.name} | {
        run.name
        for run in rivals
        if run is not first and _subtract(run, first, role, settings).noise
    }


def _subtract(
    run: RunResult, reference: RunResult, role: str | None, settings: Report
) -> Difference:
    """Return the difference of two runs on a text, or of their zero-shot averages."""
    pair = pair_runs(run.items, reference.items, settings)
    difference = pair.average if role is None else pair.losses.get(role)
    if difference is None:
        raise RankwiseError(
            f"report: runs '{run.name}' and '{reference.name}' share no {role or 'tasks'} to compare on; evaluate both again"
        )
    return difference
