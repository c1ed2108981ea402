"""Code fingerprints: which code a stage runs, as one small JSON file that rules and dvc.yaml depend on.

A file lists the modules that a stage imports, directly or not, each with the hash of its tokens without
comments, docstrings and layout; the data files that those modules read; and the rule that starts the
stage. It is written only where its content changes, so a stage runs again when its own code changed.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rankwise.files.atomic import to_json, write_if_changed
from rankwise.methods.registry import NOT_METHODS
from rankwise.params.study import Params
from rankwise.workflow.rule_source import hash_rule
from rankwise.workflow.source_tokens import hash_python

PACKAGE = Path(__file__).parent.parent
CODE = Path("data/code")
"""Where the fingerprints lie in a study."""
METHOD_KINDS = ("decompose", "allocate", "refine")
STAGE_METHODS = {
    "decompose": "decompose",
    "allocate": "allocate",
    "suggest": "allocate",
    "trial": "allocate",
    "refine": "refine",
}
"""Stage that runs one method → the kind of method; such a stage has a fingerprint a method."""
STAGES = (
    *("prepare_model", "prepare_corpora", "prepare_tasks", "sample", "covariance", "fisher"),
    *("build", "evaluate", "speed", "report", "track", "params"),
)
"""Stages with one fingerprint. Those that read all methods list them: `_methods_of`."""
ROUNDS = ("suggest", "trial")
"""Stages of a search in rounds."""
TRAVELLING = {"rankwise.checkpoint.saving": "hub"}
"""Module → the package whose files it copies, byte for byte."""
RULE_FILES = {
    **dict.fromkeys(("prepare_model", "prepare_corpora", "prepare_tasks"), "prepare"),
    **dict.fromkeys(("suggest", "trial"), "allocate"),
}
"""Stage → its file of rules, where that is not named after it."""


def fingerprint_file(stage: str, method: str | None = None) -> str:
    """Return the path of a fingerprint in a study, such as ``data/code/decompose.svd.json``."""
    return str(CODE / f"{_name(stage, method)}.json")


def write_fingerprints(
    params: Params, folder: Path, rules: Path, inputs: dict[str, list[Path]]
) -> list[str]:
    """Write the fingerprints of the stages of a study where they changed; return the names of those.

    ``rules``: folder of the ``.smk`` files; ``inputs``: stage → files of the package that it reads as inputs. Fingerprints of methods that no run names are removed.
    Cost: reads and tokenises the package's source, about a second.
    """
    wanted = {_name(stage, method): (stage, method) for stage, method in list_fingerprints(params)}
    changed = [
        name
        for name, (stage, method) in wanted.items()
        if write_if_changed(
            folder / f"{name}.json",
            to_json(fingerprint(stage, method, params, rules, inputs.get(stage, []))),
        )
    ]
    for path in folder.glob("*.json"):
        if path.stem not in wanted:
            path.unlink(missing_ok=True)
    return changed


def list_fingerprints(params: Params) -> list[tuple[str, str | None]]:
    """Return stage and method of every fingerprint that the rules of a study name."""
    used = used_methods(params)
    searches = {m for m in used["allocate"] if _searches_in_rounds(params, m)}
    by_method = [
        (stage, method)
        for stage, kind in STAGE_METHODS.items()
        for method in used[kind]
        if stage not in ROUNDS or method in searches
    ]
    return [*((stage, None) for stage in STAGES), *by_method]


def used_methods(params: Params) -> dict[str, list[str]]:
    """Return the methods that the runs of a study name, by kind."""
    steps, refinements = params.built().values(), params.refinements().values()
    sections = {
        "decompose": {step.decompose for step in steps},
        "allocate": {step.allocate for step in steps},
        "refine": {run.refine for run in refinements},
    }
    return {kind: sorted({params.method(kind, s) for s in sections[kind]}) for kind in METHOD_KINDS}


def fingerprint(
    stage: str,
    method: str | None,
    params: Params | None,
    rules: Path,
    inputs: Iterable[Path] = (),
) -> dict[str, Any]:
    """Return what one fingerprint file holds; ``params`` None stands for a study that uses every method."""
    roots = [f"rankwise.stages.{stage}", *_methods_of(stage, method, params)]
    modules = closure(*roots)
    read = [*inputs, *(path for module in modules for path in data_files(module))]
    return {
        "stage": stage,
        "method": method,
        "modules": {module: hash_module(module) for module in modules},
        "files": {_relative(path): hash_bytes(path) for path in read},
        "rule": hash_rule(rules, RULE_FILES.get(stage, stage), stage)
        if stage != "params"
        else None,
    }


def closure(*roots: str) -> list[str]:
    """Return the modules of this package that ``roots`` import, directly or not, and themselves; sorted.

    Imports inside functions count, those for type checkers do not. The face of a package counts only
    where it defines something (the registries). Methods are found by listing a folder, which is no
    import: a fingerprint names the ones that its stage runs.
    """
    found: set[str] = set()
    queue = list(roots)
    while queue:
        module = queue.pop()
        if module not in found and module_file(module) is not None:
            found.add(module)
            queue += _imports(module)
    return sorted(module for module in found if not _is_plain_face(module))


def module_file(module: str) -> Path | None:
    """Return the source file of a module of this package, None for a name that is no module."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def hash_module(module: str) -> str:
    """Return the hash of a module's tokens without comments, docstrings and layout."""
    return hash_python(_source(module))


def data_files(module: str) -> list[Path]:
    """Return the files that a module reads as data (`rankwise.files.resources`), or copies byte for byte."""
    path = module_file(module)
    if path is None:
        return []
    named = [path.parent / name for name in _resources(module)]
    if module in TRAVELLING:
        named.append(PACKAGE / TRAVELLING[module])
    inside = [p for place in named for p in ([place] if place.is_file() else place.rglob("*"))]
    return sorted(p for p in inside if p.is_file() and "__pycache__" not in p.parts)


def hash_bytes(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_methods(kind: str) -> list[str]:
    """Return the names of the methods of a kind: the files of its package."""
    names = sorted(path.stem for path in (PACKAGE / kind).glob("[!_]*.py"))
    return [name for name in names if name not in NOT_METHODS]


def _methods_of(stage: str, method: str | None, params: Params | None) -> list[str]:
    """Return the modules of the methods that a stage loads by name."""
    if method is not None:
        return [f"rankwise.{STAGE_METHODS[stage]}.{method}"]
    if stage == "params" or (stage == "report" and params is None):
        return [f"rankwise.{kind}.{name}" for kind in METHOD_KINDS for name in list_methods(kind)]
    if stage == "report" and params is not None:
        used = used_methods(params)
        return [f"rankwise.{kind}.{name}" for kind in METHOD_KINDS for name in used[kind]]
    return []


def _searches_in_rounds(params: Params, method: str) -> bool:
    """Tell whether a section of an allocator asks for several trials at once (``q``)."""
    sections = [
        params.allocate[name] or {}
        for name in params.allocate
        if params.method("allocate", name) == method
    ]
    return any(section.get("q", 1) > 1 for section in sections)


def _name(stage: str, method: str | None) -> str:
    return stage if method is None else f"{stage}.{method}"


def _relative(path: Path) -> str:
    """Return a file of the package as its fingerprints name it."""
    return f"rankwise/{path.relative_to(PACKAGE).as_posix()}"


def _source(module: str) -> str:
    path = module_file(module)
    return "" if path is None else path.read_text(encoding="utf-8")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


def _is_plain_face(module: str) -> bool:
    """Tell whether a module is a package's ``__init__`` that holds its docstring alone."""
    path = module_file(module)
    return path is not None and path.name == "__init__.py" and len(_tree(module).body) <= 1


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return the names in this package that ``module`` imports: modules, their packages, and what they define.

    The top package is left out: it names the version and registers checkpoints with transformers.
    """
    path = module_file(module)
    package = (
        module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
    )
    found = [package]
    for node in _runtime_nodes(_tree(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*base, *([origin] if origin else [])])
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    above = {
        ".".join(name.split(".")[:end]) for name in found for end in range(2, name.count(".") + 2)
    }
    return tuple(sorted(name for name in above if name.split(".")[0] == "rankwise"))


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, leaving out what stands under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _runtime_nodes(other)
            continue
        yield node
        yield from _runtime_nodes(node)


def _resources(module: str) -> list[str]:
    """Return the names in the calls ``resource(__file__, name)`` of a module."""
    return [
        str(node.args[1].value)
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "resource"
        and len(node.args) == 2
        and isinstance(node.args[1], ast.Constant)
    ]
