"""Section ``runs`` as written, where a key may carry a list: every combination is a run of its own."""

from itertools import product
from typing import Any

from rankwise.errors import RankwiseError

SHARES = ("keep",)
"""Keys whose value is named in per cent."""
NUMBERED = ("steps", "seed")
"""Keys whose value is named with the key in front of it."""


def expand_sweeps(runs: Any, where: str) -> Any:
    """Return the runs with every list of values written out, in the order in which they are written.

    ``ours: {…, keep: [0.9, 0.8], seed: [0, 1]}`` makes ``ours-90-seed0``, ``ours-90-seed1``, ``ours-80-seed0``
    and ``ours-80-seed1``: the lists' keys in the order in which they stand. A refinement ``of: ours`` of
    such a sweep is one of each of its runs, under its own name and their endings. What is no mapping is
    returned as it is, for the section's type to refuse. Raises RankwiseError, which begins with ``where``,
    for an empty list and where two runs would have one name.
    """
    if not isinstance(runs, dict):
        return runs
    found: dict[Any, Any] = {}
    endings: dict[Any, list[str]] = {}
    for name, run in runs.items():
        made = _combinations(name, run, endings, where)
        if len(made) > 1 or "" not in made:
            endings[name] = list(made)
        for ending, one in made.items():
            full = f"{name}{ending}" if ending else name
            if full in found or (ending and full in runs):
                raise RankwiseError(
                    f"{where}: runs.{name}: two runs would be named '{full}', as its lists are written out; rename one of them"
                )
            found[full] = one
    return found


def _combinations(name: Any, run: Any, endings: dict[Any, list[str]], where: str) -> dict[str, Any]:
    """Return what one entry stands for: ending of the name → run without lists."""
    if not isinstance(run, dict):
        return {"": run}
    axes: list[list[tuple[str, str, Any]]] = []
    for key, value in run.items():
        if isinstance(value, list):
            if not value:
                raise RankwiseError(
                    f"{where}: runs.{name}.{key}: an empty list given; give it a value"
                )
            axes.append([(f"-{_word(key, one)}", key, one) for one in value])
        elif key == "of" and isinstance(value, str) and value in endings:
            axes.append([(ending, key, f"{value}{ending}") for ending in endings[value]])
    made: dict[str, Any] = {}
    for chosen in product(*axes):
        ending = "".join(part for part, _, _ in chosen)
        if ending in made:
            raise RankwiseError(
                f"{where}: runs.{name}: two runs would be named '{name}{ending}', as its lists are written out; "
                "give every value once"
            )
        made[ending] = run | {key: value for _, key, value in chosen}
    return made


def _word(key: str, value: Any) -> str:
    """Return how a value is called in a run's name: 0.8 of ``keep`` is 80, 0.825 is 82_5."""
    if key in SHARES and isinstance(value, float):
        return f"{100 * value:.10g}".replace(".", "_")
    return f"{key}{value}" if key in NUMBERED else str(value)
