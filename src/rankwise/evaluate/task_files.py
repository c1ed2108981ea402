"""Task files of lm-eval, read as data.

To lm-eval a task file is a program: ``!function`` imports Python, templates may reach into objects,
and data sets come from the Hub. Here it is a description of multiple-choice items that lie beside
it as JSON lines. What is not on the list of keys below is refused, nothing is downloaded, and
templates are rendered in a sandbox (see `zero_shot`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rankwise.errors import RankwiseError, nearest
from rankwise.records import TasksManifest
from rankwise.sources import check, tasks_folder

READ_HERE = (
    "dataset_path",
    "dataset_kwargs",
    "test_split",
    "validation_split",
    "num_fewshot",
    "metadata",
)
PASSED_ON = (
    "task",
    "tag",
    "output_type",
    "description",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "target_delimiter",
    "metric_list",
)
METRICS = ("acc", "acc_norm")


@dataclass(frozen=True)
class TaskFile:
    """One task: what lm-eval is told, and its items."""

    name: str
    path: Path
    config: dict[str, Any]
    """The keys that lm-eval gets."""
    rows: list[dict[str, Any]]
    """The items, one JSON line each."""


def read_tasks(
    manifest: TasksManifest, names: list[str] | None, limit: int | None
) -> list[TaskFile]:
    """Return the tasks named, or all, sorted by name; only the first ``limit`` items of each."""
    if manifest.source is None:
        if names:
            raise RankwiseError(
                f"evaluate.tasks: {', '.join(names)} asked, but prepare.tasks.source is null; "
                "give it a folder"
            )
        return []
    folder = tasks_folder(manifest.source)
    check(folder, manifest.files, "prepare.tasks")
    paths = [folder / file.path for file in manifest.files if file.path.endswith((".yaml", ".yml"))]
    found = {config["task"]: (path, config) for path in paths for config in [read_yaml(path)]}
    for name in names or []:
        if name not in found:
            raise RankwiseError(
                f"evaluate.tasks: '{name}' is not in {folder}; {nearest(name, found)}"
            )
    chosen = sorted(found if names is None else set(names))
    return [_task(name, *found[name], limit) for name in chosen]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one task file; code in it, and keys that are not data, are refused."""
    try:
        config = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        if "!function" in str(error):
            raise RankwiseError(
                f"{path}: holds !function, which is Python code; task files are read as data, "
                "say it as a template in doc_to_text, doc_to_choice or doc_to_target"
            ) from error
        raise RankwiseError(
            f"{path}: is not plain YAML ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("task"), str):
        raise RankwiseError(f"{path}: expected a task description with a key 'task' that names it")
    allowed = (*READ_HERE, *PASSED_ON)
    for key in config:
        if key not in allowed:
            raise RankwiseError(
                f"{path}: key '{key}' is not read here; {nearest(str(key), allowed)}"
            )
    _check_values(path, config)
    return config


def _check_values(path: Path, config: dict[str, Any]) -> None:
    expected = {"output_type": "multiple_choice", "dataset_path": "json"}
    for key, value in expected.items():
        if config.get(key) != value:
            raise RankwiseError(f"{path}: {key} must be '{value}', found {config.get(key)!r}")
    if config.get("num_fewshot"):
        raise RankwiseError(
            f"{path}: num_fewshot must be 0, found {config['num_fewshot']!r}; tasks are zero-shot"
        )
    metrics = config.get("metric_list", [{"metric": "acc"}])
    names = [metric.get("metric") if isinstance(metric, dict) else metric for metric in metrics]
    if "acc" not in names or not set(names) <= set(METRICS):
        raise RankwiseError(
            f"{path}: metric_list must hold acc, and acc_norm if wanted; found {names}"
        )


def _task(name: str, path: Path, config: dict[str, Any], limit: int | None) -> TaskFile:
    split = config.get("test_split") or config.get("validation_split")
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    given = files.get(split) if isinstance(files, dict) else files
    if not isinstance(given, str):
        raise RankwiseError(
            f"{path}: dataset_kwargs.data_files must name the JSON lines of split {split!r}, "
            f"found {files!r}"
        )
    data = path.parent / given
    if not data.resolve().is_relative_to(path.parent.resolve()):
        raise RankwiseError(
            f"{path}: data file '{given}' lies outside the task's folder; move it there"
        )
    passed = {key: value for key, value in config.items() if key in PASSED_ON}
    return TaskFile(name, path, passed, _rows(path, data, limit))


def _rows(path: Path, data: Path, limit: int | None) -> list[dict[str, Any]]:
    """Return the items of a JSON-lines file, each an object."""
    if not data.is_file():
        raise RankwiseError(
            f"{path}: its data file {data} does not exist; put it there or drop the task"
        )
    rows = []
    for number, line in enumerate(data.read_text(encoding="utf-8").split("\n")[:limit], 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RankwiseError(f"{data}: line {number} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise RankwiseError(
                f"{data}: line {number} must be an object, found {type(row).__name__}"
            )
        rows.append(row)
    if not rows:
        raise RankwiseError(f"{data}: holds no items; task of {path} has nothing to ask")
    return rows
