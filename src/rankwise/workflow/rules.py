"""What the rules need to know of the package: where they are, which code a job runs, which files go in.

Only light imports here: every call of Snakemake reads this module. The rules themselves are ordinary
Snakemake and lie in ``workflow/rules`` (or in the wheel, where there is no checkout).
"""

import ast
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
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
from rankwise.methods.registry import NOT_METHODS
from rankwise.model.families import FAMILIES
from rankwise.params.stages import Params
from rankwise.validation.params import cut_sections, load_params
from rankwise.workflow.locks import refuse_other_engine

PACKAGE = Path(__file__).parent.parent
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
TEMPLATES = (".css", ".html", ".j2", ".js", ".yaml")
"""Files beside a package's modules that its code reads."""
TASK_FILES = ("*.yaml", "*.yml", "*.json", "*.jsonl", "*.py", "*.txt")


def read_study(params: Path, *, submitted: bool = False) -> Params:
    """Validate params.yaml and find local inputs before anything else happens; cut the sections.

    A ``submitted`` job, which may be on another machine with another clock, changes nothing by reading.

    A mistake ends Snakemake with its sentence and exit code 2, where an exception would be shown
    with the lines of the rules in which it came up.
    """
    try:
        if not submitted:
            refuse_other_engine()
            restamp_future_files(RESULTS)
        study = load_params(params)
        for inputs in (model_inputs, corpora_inputs, tasks_inputs):
            inputs(study)
    except RankwiseError as error:
        print(f"rankwise: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    if not submitted:
        cut_sections(study, SECTIONS)
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


def smk(name: str) -> list[str]:
    """Return a ``.smk`` file and the common one: inputs of a rule, so that an edited rule runs again."""
    return [relative(RULES / file) for file in ("common.smk", f"{name}.smk")]


def repeat_option(option: str, paths: Iterable[str]) -> str:
    """Return ``option path option path …``, quoted for the shell."""
    return " ".join(f"{option} {shlex.quote(str(path))}" for path in paths)


def code(*modules: str) -> list[str]:
    """Return the files that ``rankwise.<module>`` runs: all it imports from this package, and theirs.

    Imports inside functions count, those for type checkers do not, and files of data beside a package's
    modules do. Methods are found by listing a folder, which is no import: a rule adds the one method
    that it runs. Snakemake does not see edits to a package by itself, and a dependency on the whole
    package would re-run everything.
    """
    found: set[str] = set()
    queue = [f"rankwise.{module}" for module in modules]
    while queue:
        module = queue.pop()
        if module not in found:
            found.add(module)
            queue += _imports(module)
    files = {path for module in found if (path := _file(module)) is not None}
    for package in [path.parent for path in files if path.name == "__init__.py"]:
        files |= {path for path in package.iterdir() if path.suffix in TEMPLATES}
    return sorted(relative(path) for path in files)


def methods(kind: str) -> list[str]:
    """Return the modules found by listing a folder: ``decompose``, ``allocate`` or ``refine``."""
    names = sorted(path.stem for path in (PACKAGE / kind).glob("[!_]*.py"))
    return [f"{kind}.{name}" for name in names if name not in NOT_METHODS]


def model_inputs(study: Params) -> list[str]:
    """Return the dense model's folder and files where they are local, so that a change is noticed."""
    source = study.prepare.model
    if source.revision is not None:
        return []
    return _folder(model_folder(source.source, None), MODEL_FILES)


def family_inputs() -> list[str]:
    """Return the folder of the study's own model families and its files, where there is one."""
    return _folder(FAMILIES, ("*.yaml",)) if FAMILIES.is_dir() else []


def corpora_inputs(study: Params) -> list[str]:
    """Return the text files that are local."""
    corpora = study.prepare.corpora.values()
    return [
        relative(text_file(corpus.source, None, corpus.file))
        for corpus in corpora
        if corpus.revision is None
    ]


def tasks_inputs(study: Params) -> list[str]:
    """Return the folders of task files and of their items, and the files in them."""
    tasks = study.prepare.tasks
    if tasks.source is None:
        return []
    data = items_folder(tasks.source, tasks.data)
    found = _folder(tasks_folder(tasks.source), TASK_FILES)
    return found + ([] if data is None else _folder(data, ITEM_FILES))


def relative(path: Path) -> str:
    """Return ``path`` as seen from the study: the same text on every machine for a checkout."""
    return os.path.relpath(path)


def _folder(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Return the folder itself (its time tells of files that came or went) and its files."""
    files = sorted(
        {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    )
    return [relative(path) for path in [folder, *files]]


def _file(module: str) -> Path | None:
    """Return the source file of a module of this package, None for a name that is no module."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return the modules of this package that ``module`` imports, packages above it included."""
    path = _file(module)
    if path is None:
        return ()
    above = module.rpartition(".")[0]
    found = [above] if above else []
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = module if path.name == "__init__.py" else above
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*base, *([origin] if origin else [])])
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.split(".")[0] == "rankwise")


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, leaving out what stands under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _nodes(other)
            continue
        yield node
        yield from _nodes(node)
