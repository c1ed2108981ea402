"""What the rules need to know of the package: where they are, and which files go in.

Only light imports here: every call of Snakemake reads this module. The rules themselves are ordinary
Snakemake and lie in ``workflow/rules`` (or in the wheel, where there is no checkout).
"""

import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rankwise.errors import RankwiseError
from rankwise.inputs.sources import (
    ITEM_FILES,
    MODEL_FILES,
    items_folder,
    model_folder,
    tasks_folder,
    text_file,
)
from rankwise.model.families import FAMILIES
from rankwise.params.study import Params
from rankwise.validation.params import cut_sections, load_params
from rankwise.workflow.fingerprints import CODE, write_fingerprints
from rankwise.workflow.imports import PACKAGE
from rankwise.workflow.locks import refuse_other_engine

CHECKOUT = PACKAGE.parent.parent
WORKFLOW = (
    CHECKOUT / "workflow" if (CHECKOUT / "workflow/rules").is_dir() else PACKAGE / "_workflow"
)
RULES = WORKFLOW / "rules"
"""Folder of the ``.smk`` files."""
SNAKEFILE = (CHECKOUT if WORKFLOW.parent == CHECKOUT else WORKFLOW) / "Snakefile"
PROFILES = WORKFLOW / "profiles"
"""Folder of the ways that Snakemake runs, a folder with a ``config.yaml`` each."""
SECTIONS = Path("data/params")
"""Where the sections of params.yaml lie in a study."""
RESULTS = SECTIONS.parent
TASK_FILES = ("*.yaml", "*.yml", "*.json", "*.jsonl", "*.py", "*.txt")


def read_study(params: Path, *, submitted: bool = False) -> Params:
    """Validate params.yaml and find local inputs before anything else happens.

    Cut the sections and write the code fingerprints.

    A ``submitted`` job, which may be on another machine with another clock, changes nothing by reading.

    A mistake ends Snakemake with its sentence and exit code 2, where an exception would be shown
    with the lines of the rules in which it came up.
    """
    try:
        if not submitted:
            refuse_other_engine()
            restamp_future_files(RESULTS)
        study = load_params(params)
        packaged = packaged_inputs(study)
    except RankwiseError as error:
        print(f"rankwise: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    if not submitted:
        cut_sections(study, SECTIONS)
        write_fingerprints(study, CODE, RULES, packaged)
    return study


def restamp_future_files(folder: Path) -> None:
    """Give files of a time that has not come yet one that has, in their order.

    They were written before the clock was set back; what is written now would count as older than
    they are, and a change would be missed.
    """
    now = time.time_ns()
    times = {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_symlink()}
    ahead = sorted((at, path) for path, at in times.items() if at > now)
    for place, (_, path) in enumerate(ahead, 1 - len(ahead)):
        os.utime(path, ns=(now + 1000 * place, now + 1000 * place))


def section_file(name: str) -> str:
    """Return the file of one section, such as ``sample.test``."""
    return str(SECTIONS / f"{name}.json")


def repeat_option(option: str, paths: Iterable[str]) -> str:
    """Return ``option path option path …``, quoted for the shell."""
    return " ".join(f"{option} {shlex.quote(str(path))}" for path in paths)


def braced_option(option: str, paths: Iterable[str]) -> str:
    """Return ``option`` with many paths in few words: ``--scores 'data/scores/{a,b}.json'``.

    The command expands the braces (`rankwise.results.files`), not the shell. Paths of one folder share a
    word, so a command for fifty records stays readable.
    """
    folders: dict[str, list[str]] = {}
    for path in map(str, paths):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    words = [f"{folder}/{_brace(names)}" for folder, names in folders.items()]
    return repeat_option(option, words)


def _brace(names: list[str]) -> str:
    """Return file names as one pattern: ``{a,b}.json``; a name alone as it is."""
    if len(names) == 1:
        return names[0]
    endings = [names[0][at:] for at, letter in enumerate(names[0]) if letter == "."]
    ending = next((e for e in endings if all(name.endswith(e) for name in names)), "")
    stems = (name.removesuffix(ending) for name in names)
    return f"{{{','.join(stems)}}}{ending}"


def local_inputs(study: Params, stage: str) -> list[str]:
    """Return the local files and folders that a prepare stage reads, as seen from the study.

    What comes with the package counts as its code: `packaged_inputs`.
    """
    return [relative(path) for path in _inputs(study)[stage] if not path.is_relative_to(PACKAGE)]


def packaged_inputs(study: Params) -> dict[str, list[Path]]:
    """Return stage → the files that it reads from the package: the embedded model, its texts and tasks."""
    return {
        stage: [path for path in paths if path.is_relative_to(PACKAGE) and path.is_file()]
        for stage, paths in _inputs(study).items()
    }


def family_inputs() -> list[str]:
    """Return the folder of the study's own model families and its files, where there is one."""
    return [relative(path) for path in _folder(FAMILIES, ("*.yaml",))] if FAMILIES.is_dir() else []


def _inputs(study: Params) -> dict[str, list[Path]]:
    """Return prepare stage → files and folders that it reads, those on the Hub left out.

    Raises RankwiseError for one that does not exist.
    """
    return {
        "prepare_model": _model(study),
        "prepare_corpora": _corpora(study),
        "prepare_tasks": _tasks(study),
    }


def _model(study: Params) -> list[Path]:
    source = study.prepare.model
    if source.revision is not None:
        return []
    return _folder(model_folder(source.source, None), MODEL_FILES)


def _corpora(study: Params) -> list[Path]:
    corpora = study.prepare.corpora.values()
    return [text_file(c.source, None, c.file) for c in corpora if c.revision is None]


def _tasks(study: Params) -> list[Path]:
    tasks = study.prepare.tasks
    if tasks.source is None:
        return []
    items = items_folder(tasks.source, tasks.data)
    task_files = _folder(tasks_folder(tasks.source), TASK_FILES)
    return task_files + ([] if items is None else _folder(items, ITEM_FILES))


def relative(path: Path) -> str:
    """Return ``path`` as seen from the study: the same text on every machine for a checkout."""
    return os.path.relpath(path)


def _folder(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the folder itself (its time tells of files that came or went) and its files."""
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return [folder, *sorted(files)]
