"""Snakemake's dry run in a person's words: which jobs are due, and why.

`rankwise.workflow.fingerprints` decides what counts as changed code. A dry run names files. To say what
changed inside a section or a fingerprint, `explain_change` compares it with the copy that `rankwise run`
left (`remember`).
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwise.files.atomic import write_if_changed
from rankwise.workflow.fingerprints import CODE
from rankwise.workflow.rules import SECTIONS

RECORDED = Path("data/work/recorded")
"""Sections and fingerprints as they were when the study was last recorded; may be deleted."""
SHOWN = 8
"""Groups of jobs that a summary lists."""
FOLLOWS = "follows from a job before it"


@dataclass(frozen=True)
class DueJob:
    """One job of a dry run."""

    name: str
    """Rule and what its wildcards stand for, such as ``decompose kfac``."""
    outputs: tuple[str, ...]
    reason: str
    """In words; `FOLLOWS` where only another job's output changes."""


def read_dry_run(text: str) -> list[DueJob]:
    """Return the jobs of a dry run that was printed with job cards."""
    return [
        job for card in re.split(r"\n(?=(?:local)?rule \w+:\n)", text) if (job := _read_card(card))
    ]


def summarise(jobs: list[DueJob], total: int) -> str:
    """Return which jobs will run and why, a line a reason, causes before what follows from them."""
    reasons: dict[str, list[str]] = {}
    for job in sorted(jobs, key=lambda job: job.reason == FOLLOWS):
        reasons.setdefault(job.reason, []).append(job.name)
    lines = [f"  {_list(names)}: {reason}" for reason, names in reasons.items()]
    more = [f"  and {len(lines) - SHOWN} more reasons"] if len(lines) > SHOWN else []
    return "\n".join([f"{len(jobs)} of {total} jobs will run:", *lines[:SHOWN], *more])


def remember() -> None:
    """Keep a copy of the sections and fingerprints that the results were made with."""
    for folder in (SECTIONS, CODE):
        copy = RECORDED / folder.name
        for path in folder.glob("*.json"):
            write_if_changed(copy / path.name, path.read_text(encoding="utf-8"))
        for path in copy.glob("*.json"):
            if not (folder / path.name).exists():
                path.unlink()


def explain_change(path: str) -> str:
    """Return in words what changed in a file that is newer than what was made of it."""
    file = Path(path)
    if file.parent not in (SECTIONS, CODE):
        return f"{path} changed"
    now, before = _read(file), _read(RECORDED / file.parent.name / file.name)
    if before is None:
        kind = "code" if file.parent == CODE else "parameters"
        return f"{kind} of {file.stem} changed"
    changes = list(
        _changed_code(before, now) if file.parent == CODE else _changed_keys(file.stem, before, now)
    )
    return ", ".join(changes) or f"{path} was written again"


def _read_card(card: str) -> DueJob | None:
    """Return the job of one card; None for text that is none."""
    rule = re.match(r"(?:local)?rule (\w+):", card)
    if rule is None or rule[1] == "all":
        return None
    facts = dict(re.findall(r"^    (\w+): (.*)$", card, re.MULTILINE))
    wildcards = re.findall(r"(\w+)=([^,\s]+)", facts.get("wildcards", ""))
    words = [value for name, value in wildcards if not (name == "origin" and value == "dense")]
    outputs = tuple(facts.get("output", "").split(", "))
    return DueJob(" ".join([rule[1], *words]), outputs, _explain(facts.get("reason", "")))


def _explain(reason: str) -> str:
    """Return Snakemake's reason in a person's words."""
    if reason.startswith("Missing output files"):
        return "not made yet"
    parts = dict(re.findall(r"([\w ]+): ([^;]+)", reason))
    if updated := parts.get("Updated input files"):
        return ", ".join(dict.fromkeys(explain_change(path) for path in updated.split(", ")))
    if any(key.startswith("Input files updated by another job") for key in parts):
        return FOLLOWS
    return reason[:1].lower() + reason[1:] or "is due"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _changed_code(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between two fingerprints of one stage."""
    for key in ("modules", "files"):
        old, new = before.get(key, {}), now.get(key, {})
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if names:
            yield f"code of {_list([name.removeprefix('rankwise.') for name in names])} changed"
    if before.get("rule") != now.get("rule"):
        yield f"the rule of {now['stage']} changed"


def _changed_keys(section: str, before: Any, now: Any) -> Iterator[str]:
    """Yield the keys of a section that differ, with both values."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        yield f"{section} changed"
        return
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            yield f"{section}.{key} was {json.dumps(before.get(key))}, is {json.dumps(now.get(key))}"


def _list(names: Iterable[str]) -> str:
    """Return names in a row, those behind the fourth counted."""
    listed = list(names)
    rest = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return ", ".join(listed[:4]) + rest
