"""Expansion of sweeps in section ``runs``: a key may have a list, and every combination is one run."""

from itertools import product
from typing import Any

from rankwise.errors import RankwiseError

SHARES = ("keep",)
"""Keys whose value appears as per cent in a run's name."""
NUMBERED = ("steps", "seed")
"""Keys whose value appears with the key before it in a run's name."""


def expand_sweeps(runs: Any, where: str) -> Any:
    """Return the runs with every list of values expanded, in the order of the file.

    ``svd: {…, keep: [0.9, 0.8], seed: [0, 1]}`` makes ``svd-90-seed0``, ``svd-90-seed1``,
    ``svd-80-seed0`` and ``svd-80-seed1``, with the keys in the order of the file. A refinement
    ``of: svd`` of such a sweep makes one refinement per run, named by its own name and the run's ending.
    A value that is no mapping is returned unchanged; the section's type refuses it later. Raises
    RankwiseError, which begins with ``where``, for an empty list and for two runs of one name.
    """
    if not isinstance(runs, dict):
        return runs
    expanded: dict[Any, Any] = {}
    endings: dict[Any, list[str]] = {}
    for name, run in runs.items():
        combinations = _combinations(name, run, endings, where)
        if len(combinations) > 1 or "" not in combinations:
            endings[name] = list(combinations)
        for ending, combination in combinations.items():
            full_name = f"{name}{ending}" if ending else name
            if full_name in expanded or (ending and full_name in runs):
                raise RankwiseError(
                    f"{where}: runs.{name}: two runs would be named '{full_name}', as its lists are written out; rename one of them"
                )
            expanded[full_name] = combination
    return expanded


def _combinations(name: Any, run: Any, endings: dict[Any, list[str]], where: str) -> dict[str, Any]:
    """Return the combinations of one run: ending of the name → run without lists."""
    if not isinstance(run, dict):
        return {"": run}
    axes: list[list[tuple[str, str, Any]]] = []
    for key, value in run.items():
        if isinstance(value, list):
            if not value:
                raise RankwiseError(
                    f"{where}: runs.{name}.{key}: an empty list given; give it a value"
                )
            axes.append([(f"-{_word(key, item)}", key, item) for item in value])
        elif key == "of" and isinstance(value, str) and value in endings:
            axes.append([(ending, key, f"{value}{ending}") for ending in endings[value]])
    combinations: dict[str, Any] = {}
    for combination in product(*axes):
        ending = "".join(part for part, _, _ in combination)
        if ending in combinations:
            raise RankwiseError(
                f"{where}: runs.{name}: two runs would be named '{name}{ending}', as its lists are written out; "
                "give every value once"
            )
        combinations[ending] = run | {key: value for _, key, value in combination}
    return combinations


def _word(key: str, value: Any) -> str:
    """Return the form of a value in a run's name: 0.8 of ``keep`` is 80, 0.825 is 82_5."""
    if key in SHARES and isinstance(value, float):
        return f"{100 * value:.10g}".replace(".", "_")
    return f"{key}{value}" if key in NUMBERED else str(value)
