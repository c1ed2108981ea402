"""Task files of lm-eval, read as data.

To lm-eval a task file is a program: ``!function`` imports Python, templates can access objects, and
data sets come from the Hub. Here a task file only describes multiple-choice items. The items are JSON
lines, next to the task file or in the data folder. Only the keys listed below are allowed, nothing is
downloaded, and templates are rendered in a sandbox (see `zero_shot`). A task can use code only if it
includes a task file of the installed lm-eval (see `official`).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError, nearest
from rankwise.evaluate.official import official_task
from rankwise.files import yamls
from rankwise.files.paths import resolve_inside
from rankwise.inputs.sources import check_files, tasks_folder
from rankwise.records.tasks import TasksManifest

READ_HERE = (
    "include",
    "columns",
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
INCLUDED = (*PASSED_ON, "process_docs")
"""Keys that an included file of lm-eval may set."""
METRICS = ("acc", "acc_norm")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Pattern of a task's name, which appears in records, MLflow, the report and the model card."""
KINDS: dict[str, type] = {
    "test_split": str,
    "validation_split": str,
    "dataset_kwargs": dict,
    "columns": dict,
    "metric_list": list,
}
"""Key → type of its value, if the key is set."""


@dataclass(frozen=True)
class TaskFile:
    """One task: its lm-eval configuration and its items."""

    name: str
    path: Path
    config: dict[str, Any]
    """The keys passed on to lm-eval."""
    data: Path
    """The file of the items."""
    rows: list[dict[str, Any]]
    """The items, one JSON line each."""


def read_tasks(
    manifest: TasksManifest, names: list[str] | None, limit: int | None
) -> list[TaskFile]:
    """Return the tasks called ``names``, or all, sorted by name; only the first ``limit`` items of each."""
    if manifest.source is None:
        if names:
            raise RankwiseError(
                f"evaluate.tasks: {', '.join(names)} asked, but prepare.tasks.source is null; "
                "give it a folder"
            )
        return []
    folder = tasks_folder(manifest.source)
    check_files(folder, manifest.files, "prepare.tasks")
    data = folder if manifest.data is None else Path(manifest.data)
    check_files(data, manifest.data_files, "prepare.tasks.data")
    paths = [folder / file.path for file in manifest.files if file.path.endswith((".yaml", ".yml"))]
    configs = {config["task"]: (path, config) for path in paths for config in [read_yaml(path)]}
    for name in names or []:
        if name not in configs:
            raise RankwiseError(
                f"evaluate.tasks: '{name}' is not in {folder}; {nearest(name, configs)}"
            )
    chosen = sorted(configs if names is None else set(names))
    return [_read_task(name, *configs[name], data, limit) for name in chosen]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one task file and the file it includes; raises RankwiseError for code and unknown keys."""
    try:
        config = yamls.read_yaml(path)
    except RankwiseError as error:
        if "!function" in str(error):
            raise RankwiseError(
                f"{path}: holds !function, which is Python code; task files are read as data, "
                "write it as a template in doc_to_text, doc_to_choice or doc_to_target"
            ) from error
        raise
    if not isinstance(config, dict) or not isinstance(config.get("task", ""), str):
        raise RankwiseError(f"{path}: expected a task description with a key 'task' that names it")
    allowed = (*READ_HERE, *PASSED_ON)
    for key in config:
        if key not in allowed:
            raise RankwiseError(
                f"{path}: key '{key}' is not supported; {nearest(str(key), allowed)}"
            )
    if "include" in config:
        included = official_task(config.pop("include"), path)
        config = {key: value for key, value in included.items() if key in INCLUDED} | config
    if "task" not in config:
        raise RankwiseError(f"{path}: expected a key 'task' that names it")
    _check_values(path, config)
    return config


def _check_values(path: Path, config: dict[str, Any]) -> None:
    if not NAME.fullmatch(config["task"]):
        raise RankwiseError(
            f"{path}: a task is named by letters, digits, '_', '.' and '-', found {config['task'][:100]!r}"
        )
    expected = {"output_type": "multiple_choice", "dataset_path": "json"}
    for key, value in expected.items():
        if config.get(key) != value:
            raise RankwiseError(f"{path}: {key} must be '{value}', found {config.get(key)!r}")
    if config.get("num_fewshot"):
        raise RankwiseError(
            f"{path}: num_fewshot must be 0, found {config['num_fewshot']!r}; tasks are zero-shot"
        )
    for key, kind in KINDS.items():
        if not isinstance(config.get(key), kind | None):
            raise RankwiseError(
                f"{path}: {key} must be a {kind.__name__}, found {type(config[key]).__name__}"
            )
    metrics = config.get("metric_list") or [{"metric": "acc"}]
    names = [metric.get("metric") if isinstance(metric, dict) else metric for metric in metrics]
    if "acc" not in names or not all(name in METRICS for name in names):
        raise RankwiseError(
            f"{path}: metric_list must hold acc, and acc_norm if wanted; found {str(names)[:200]}"
        )


def _read_task(
    name: str, path: Path, config: dict[str, Any], folder: Path, limit: int | None
) -> TaskFile:
    split = config.get("test_split") or config.get("validation_split")
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    pattern = files.get(split) if isinstance(files, dict) else files
    if not isinstance(pattern, str):
        raise RankwiseError(
            f"{path}: dataset_kwargs.data_files must name the JSON lines of split {split!r}, "
            f"found {str(files)[:200]}"
        )
    data = _find_data_file(path, folder, pattern)
    rows = _rename_keys(path, read_rows(path, data, limit), config.get("columns") or {})
    forwarded = {key: value for key, value in config.items() if key in INCLUDED}
    return TaskFile(name, path, forwarded, data, rows)


def _find_data_file(path: Path, folder: Path, pattern: str) -> Path:
    """Return the one file of ``folder`` that matches ``pattern``; raises RankwiseError for none or several."""
    resolve_inside(folder, pattern, f"{path}: data file")
    names = [file.relative_to(folder).as_posix() for file in folder.glob(pattern)]
    matches = sorted(resolve_inside(folder, name, f"{path}: data file") for name in names)
    if len(matches) != 1 or not matches[0].is_file():
        listed = ", ".join(file.name for file in matches)
        raise RankwiseError(
            f"{path}: expected one data file {folder / pattern}, found {listed or 'none'}; "
            "put it there, or name the wanted tasks in evaluate.tasks"
        )
    return matches[0]


def _rename_keys(
    path: Path, rows: list[dict[str, Any]], columns: dict[str, str]
) -> list[dict[str, Any]]:
    """Add renamed columns to the items; true and false become 1 and 0."""
    for number, row in enumerate(rows, 1):
        for name, source in columns.items():
            if source not in row:
                raise RankwiseError(f"{path}: item {number} has no column '{source}'")
            row[name] = int(row[source]) if isinstance(row[source], bool) else row[source]
    return rows


def read_rows(path: Path, data: Path, limit: int | None) -> list[dict[str, Any]]:
    """Return the items of a JSON-lines file, each an object."""
    rows = []
    try:
        lines = data.read_text(encoding="utf-8").split("\n")[:limit]
    except UnicodeDecodeError as error:
        raise RankwiseError(f"{data} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RankwiseError(f"{data}: line {number} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise RankwiseError(
                f"{data}: line {number} must be an object, found {type(row).__name__}"
            )
        rows.append(row)
    if len(rows) < 2:
        raise RankwiseError(
            f"{data}: holds {len(rows) or 'no'} items; a score and its error, as task {path} "
            "asks for, need two at least"
        )
    return rows
