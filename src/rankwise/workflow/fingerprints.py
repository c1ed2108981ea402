"""Code fingerprints: which code a stage runs, as one small JSON file that rules and dvc.yaml depend on.

A file lists the modules that a stage imports, directly or not, each with the hash of its tokens without
comments, docstrings and layout; the data files that those modules read; and the rule that starts the
stage. It is written only where its content changes, so a stage runs again when its own code changed.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from rankwise.files.atomic import to_json, write_if_changed
from rankwise.methods.registry import NOT_METHODS
from rankwise.params.study import Params
from rankwise.workflow.imports import PACKAGE, closure, module_file, parse_module, read_source
from rankwise.workflow.rule_source import hash_all_rules, hash_rule
from rankwise.workflow.source_tokens import hash_python

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

    ``rules``: folder of the ``.smk`` files; ``inputs``: stage → files of the package that it reads as
    inputs. Fingerprints of methods that no run names are removed.
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
        "rule": hash_all_rules(rules)
        if stage == "params"
        else hash_rule(rules, RULE_FILES.get(stage, stage), stage),
    }


@cache
def hash_module(module: str) -> str:
    """Return the hash of a module's tokens without comments, docstrings and layout."""
    return hash_python(read_source(module))


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


def _resources(module: str) -> list[str]:
    """Return the names in the calls ``resource(__file__, name)`` of a module."""
    return [
        str(node.args[1].value)
        for node in ast.walk(parse_module(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "resource"
        and len(node.args) == 2
        and isinstance(node.args[1], ast.Constant)
    ]
