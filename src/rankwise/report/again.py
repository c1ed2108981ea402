"""How somebody who has the page alone makes the runs again: params.yaml as it was used, and the versions."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from rankwise.results.run import RunResult

LEFT_OUT = ("track",)
"""Sections that change no run and nothing on the page."""


def print_params(sections: dict[str, Any]) -> str | None:
    """Return a params.yaml that gives these sections again; None where they are not all of a study.

    ``sections``: as `rankwise.validation.params.sections` cuts them, those of methods that no run uses may
    be missing. Sweeps are written out run by run, and defaults are filled in: what they are in another
    version does not matter.
    """
    if not {"prepare.model", "prepare.corpora", "runs"} <= set(sections):
        return None
    whole: dict[str, Any] = {}
    for name, given in sections.items():
        head, _, rest = name.partition(".")
        if head == "runs" or head in LEFT_OUT:
            continue
        if not rest:
            whole[head] = given
            continue
        role, further, text = rest.partition("-") if head == "sample" else (rest, "", "")
        section = whole.setdefault(head, {})
        if further:
            section.setdefault("further", {})[text] = given
        else:
            section[role] = {k: v for k, v in given.items() if (k, v) != ("method", role)}
    whole["runs"] = {
        run["name"]: {k: v for k, v in run.items() if k != "name" and v is not None}
        for run in sections["runs"]
    }
    yaml, stream = YAML(), io.StringIO()
    yaml.width = 2**16
    yaml.dump({key: _laid_out(whole[key]) for key in sorted(whole, key=_place)}, stream)
    return stream.getvalue()


def join_versions(results: list[RunResult]) -> dict[str, str]:
    """Return library → version that the runs were measured with; several where they differ."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in result.scores.versions.items():
            found.setdefault(name, {})[version] = None
    ours_first = sorted(found, key=lambda name: (name != "rankwise", name))
    return {name: " and ".join(found[name]) for name in ours_first}


ORDER = ("prepare", "sample", "covariance", "fisher", "decompose", "allocate", "refine", "runs")
"""Sections in the order of the stages; the others come after them."""


def _place(section: str) -> tuple[int, str]:
    return (ORDER.index(section) if section in ORDER else len(ORDER), section)


def _laid_out(given: Any) -> Any:
    """Return a section with what holds no further section on one line."""
    if not isinstance(given, dict):
        return given
    laid = CommentedMap({key: _laid_out(value) for key, value in given.items()})
    if not any(isinstance(value, dict) for value in given.values()):
        laid.fa.set_flow_style()
    return laid
