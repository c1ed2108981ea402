"""Makes a page of every method from its class: what it says of itself, and the keys of its section.

A hook of MkDocs (`mkdocs.yml`). One page a file of `decompose`, `allocate` and `refine`; the source is the one
place where a method is described.
"""

import ast
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from rankwise.allocate import allocators
from rankwise.decompose import decomposers
from rankwise.refine import refiners

REGISTRIES = {"decompose": decomposers, "allocate": allocators, "refine": refiners}
FOLDER = "methods"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages to those that are written by hand."""
    for kind, registry in REGISTRIES.items():
        for name in registry:
            path = f"{FOLDER}/{kind}-{name}.md"
            files.append(File.generated(config, path, content=page(kind, name, registry[name])))
    return files


def on_config(config: Any) -> Any:
    """Put the pages below that of all methods."""
    for group in config.nav:
        for entries in group.values() if isinstance(group, dict) else ():
            if "methods.md" in entries:
                entries.insert(entries.index("methods.md") + 1, {"A page a method": listed()})
    return config


def listed() -> list[dict[str, str]]:
    """Return title and path of every page."""
    return [
        {f"{kind}: {name}": f"{FOLDER}/{kind}-{name}.md"}
        for kind, registry in REGISTRIES.items()
        for name in registry
    ]


def page(kind: str, name: str, method: type) -> str:
    """Return a method's page as Markdown."""
    source = Path(inspect.getsourcefile(method) or "").name
    lines = [f"# `{kind}.{name}`", "", inspect.getdoc(method) or "", "", "## Keys", ""]
    described = descriptions(method)
    rows = [
        f"| `{key}` | {default(field)} | {described.get(key, '')} |"
        for key, field in method.model_fields.items()  # type: ignore[attr-defined]
    ]
    lines += ["| key | default | |", "|---|---|---|", *rows] if rows else ["None."]
    return "\n".join([*lines, "", f"Source: `src/rankwise/{kind}/{source}`.", ""])


def default(field: Any) -> str:
    """Return a field's default as params.yaml would have it."""
    if field.is_required():
        return "to be given"
    value = field.get_default(call_default_factory=True)
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def descriptions(method: type) -> dict[str, str]:
    """Return the string below every field, those of the classes above included, on one line."""
    found: dict[str, str] = {}
    for each in reversed(method.__mro__):
        if not each.__module__.startswith("rankwise."):
            continue
        [body] = ast.parse(inspect.getsource(each).strip()).body
        members = getattr(body, "body", [])
        for member, behind in pairwise(members):
            named = isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
            if named and isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                found[member.target.id] = " ".join(str(behind.value.value).split())
    return found
