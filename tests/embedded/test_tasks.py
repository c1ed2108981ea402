"""The five tasks: well-formed, balanced, reproducible."""

import json
from collections import Counter

import pytest
import yaml

from rankwise.embedded import tasks
from rankwise.embedded.files import TASK_NAMES, TASKS


def rows(name: str) -> list[dict]:
    text = (TASKS / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_shipped_tasks_regenerate_byte_for_byte() -> None:
    written = dict(tasks.files())
    shipped = {p.name: p.read_text(encoding="utf-8") for p in TASKS.iterdir() if p.is_file()}
    assert written == shipped


@pytest.mark.parametrize("name", TASK_NAMES)
def test_items_are_unique_balanced_and_in_range(name: str) -> None:
    found = rows(name)
    choices = tasks.TASKS[name][1]
    assert len(found) >= 200
    assert all(len(set(r["choices"])) == choices and 0 <= r["gold"] < choices for r in found)
    counts = Counter(r["gold"] for r in found)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({(r["context"], *sorted(r["choices"])) for r in found}) == len(found)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_yaml_names_its_data_and_runs_no_code(name: str) -> None:
    text = (TASKS / f"{name}.yaml").read_text(encoding="utf-8")
    described = yaml.safe_load(text)
    assert "!function" not in text
    assert described["task"] == name
    assert (TASKS / described["dataset_kwargs"]["data_files"]["test"]).is_file()


def test_endings_alone_do_not_tell_the_right_one() -> None:
    """Every ending shares as many words with the others as the right one does."""
    for row in rows("world_hellaswag"):
        sets = [set(c.split()) for c in row["choices"]]
        shared = [sum(len(a & b) for b in sets) for a in sets]
        assert max(shared) - min(shared) <= 2, row
