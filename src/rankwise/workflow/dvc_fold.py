"""Folding of jobs into the templates of dvc.yaml: jobs that differ in names alone become one stage.

A stage with ``foreach`` or ``matrix`` stands for many; DVC names each ``<stage>@<item>``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

DENSE = "dense"
OPTIONAL = {
    "sample": ("sample",),
    "decompose": ("fisher",),
    "allocate": ("sample", "covariance", "search"),
}
"""Rule → folders of data that only some of its jobs read; such jobs are a stage of their own."""
LONG = 9
"""A list of more paths is written in lines of several."""
Stage = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One job of the graph, as a stage of DVC with literal paths and command."""

    rule: str
    axes: dict[str, str]
    """Wildcard → value."""
    facts: dict[str, str] = field(default_factory=dict)
    """What else its names are made of, such as the run's decomposer."""
    stage: Stage = field(default_factory=dict)


def fold(jobs: list[Job]) -> dict[str, Stage]:
    """Return the stages of the jobs of one rule; each job is one of them, or an item of one.

    A job has the same name in every study, ``<stage>@<axes>``: DVC runs a stage of another name again.
    """
    names = _names(jobs)
    groups: dict[str, list[tuple[Job, Stage]]] = {}
    stages: dict[str, Stage] = {}
    for job in jobs:
        if set(job.axes.values()) <= {DENSE}:
            stages["-".join([job.rule, *job.axes.values()])] = flow_lists(job.stage)
        else:
            template = _template(job, names)
            groups.setdefault(repr(template), []).append((job, template))
    for members in groups.values():
        some, template = [job for job, _ in members], members[0][1]
        name = _name(some[0].rule, template)
        if name in stages:  # a search in rounds: what its jobs read differs from round to round
            stages |= {
                "-".join([job.rule, *job.axes.values()]): flow_lists(job.stage) for job in some
            }
        else:
            stages[name] = _folded(some, template, names)
    return stages


def flow_lists(stage: Stage) -> Stage:
    """Return a stage whose long lists take lines of several paths."""
    return {
        key: _flow(value) if (isinstance(value, list) and len(value) > LONG) else value
        for key, value in stage.items()
    }


def _names(jobs: list[Job]) -> list[str]:
    """Return the names of all axes, then of the facts that differ between jobs."""
    axes = dict.fromkeys(name for job in jobs for name in job.axes)
    facts = dict.fromkeys(name for job in jobs for name in job.facts)
    return [*axes, *(name for name in facts if len({job.facts.get(name) for job in jobs}) > 1)]


def _value(job: Job, name: str) -> str | None:
    return job.axes.get(name, job.facts.get(name))


def _template(job: Job, names: list[str]) -> Stage:
    """Return a job's stage with a placeholder ``⟨name⟩`` for every value of an axis or a fact."""
    values = {value: name for name in reversed(names) if (value := _value(job, name)) is not None}
    words = sorted((value for value in values if not value.isdigit()), key=len, reverse=True)
    numbers = [(values[value], value) for value in values if value.isdigit()]

    def replace(text: str) -> str:
        if words:
            listed = "|".join(map(re.escape, words))
            text = re.sub(rf"(?<![\w-])({listed})(?![\w-])", lambda m: f"⟨{values[m[1]]}⟩", text)
        for name, value in numbers:  # group_0, --round 0
            text = re.sub(rf"(?<![A-Za-z]){name}([_ ]){value}(?!\w)", rf"{name}\1⟨{name}⟩", text)
        return text

    return _walk(job.stage, replace)


def _walk(value: Any, change: Any) -> Any:
    """Return nested lists and mappings with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_walk(part, change) for part in value]
    if isinstance(value, CommentedMap):
        return flow_map({key: _walk(part, change) for key, part in value.items()})
    if isinstance(value, dict):
        return {_walk(key, change): _walk(part, change) for key, part in value.items()}
    return value


def _name(rule: str, template: Stage) -> str:
    """Return the name of a template: the rule's, with the optional inputs that it reads."""
    optional = OPTIONAL.get(rule, ())
    read = [f for f in optional if any(path.startswith(f"data/{f}/") for path in template["deps"])]
    return "_".join([rule, *read])


def _folded(jobs: list[Job], template: Stage, names: list[str]) -> Stage:
    """Return a ``foreach`` or ``matrix`` stage for jobs that share a template."""
    used = [name for name in names if name in jobs[0].axes or f"⟨{name}⟩" in repr(template)]
    rows = [{name: _value(job, name) for name in used} for job in jobs]
    if len(used) == 1:
        body = _walk(template, lambda text: text.replace(f"⟨{used[0]}⟩", "${item}"))
        return {"foreach": _flow([row[used[0]] for row in rows]), "do": flow_lists(body)}
    choices = {name: list(dict.fromkeys(row[name] for row in rows)) for name in used}
    if all(name in jobs[0].axes for name in used) and _is_full(rows, choices):
        body = _walk(template, lambda text: re.sub("⟨(.*?)⟩", r"${item.\1}", text))
        return {
            "matrix": {name: _flow(values) for name, values in choices.items()},
            **flow_lists(body),
        }
    axes = [name for name in used if name in jobs[0].axes]
    keys = ["-".join(str(row[name]) for name in axes) for row in rows]
    named = axes if len(axes) == 1 else []
    body = _walk(template, lambda text: re.sub("⟨(.*?)⟩", lambda m: _reference(m[1], named), text))
    items = {
        key: flow_map({name: value for name, value in row.items() if name not in named})
        for key, row in zip(keys, rows, strict=True)
    }
    return {"foreach": items, "do": flow_lists(body)}


def _reference(name: str, key: list[str]) -> str:
    return "${key}" if name in key else f"${{item.{name}}}"


def _is_full(rows: list[dict[str, Any]], choices: dict[str, list[Any]]) -> bool:
    """Tell whether rows are all combinations of the choices, in DVC's order."""
    return rows == [
        dict(zip(choices, values, strict=True)) for values in product(*choices.values())
    ]


def _flow(values: list[Any]) -> CommentedSeq:
    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found


def flow_map(values: dict[str, Any]) -> CommentedMap:
    """Return a mapping that YAML writes on one line."""
    found = CommentedMap(values)
    found.fa.set_flow_style()
    return found


def unfold(stages: dict[str, Stage]) -> Iterator[tuple[str, Stage]]:
    """Yield name and stage of every job that the stages of a dvc.yaml stand for, as DVC resolves them."""
    for name, stage in stages.items():
        if "foreach" in stage:
            items = stage["foreach"]
            pairs = items.items() if isinstance(items, dict) else ((item, item) for item in items)
            for key, item in pairs:
                facts = (
                    {f"item.{k}": v for k, v in item.items()}
                    if isinstance(item, dict)
                    else {"item": item}
                )
                yield f"{name}@{key}", _filled(stage["do"], {"key": key, **facts})
        elif "matrix" in stage:
            body = {key: value for key, value in stage.items() if key != "matrix"}
            for values in product(*stage["matrix"].values()):
                facts = {f"item.{k}": v for k, v in zip(stage["matrix"], values, strict=True)}
                yield f"{name}@{'-'.join(map(str, values))}", _filled(body, facts)
        else:
            yield name, stage


def _filled(stage: Stage, facts: dict[str, Any]) -> Stage:
    return _walk(
        stage, lambda text: re.sub(r"\$\{(.*?)\}", lambda match: str(facts[match[1]]), text)
    )
