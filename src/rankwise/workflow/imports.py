"""Which modules of this package a module imports, directly or not, read from their syntax trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


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


def read_source(module: str) -> str:
    """Return the text of a module, empty for a name that is no module."""
    path = module_file(module)
    return "" if path is None else path.read_text(encoding="utf-8")


@cache
def parse_module(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(read_source(module))


def _is_plain_face(module: str) -> bool:
    """Tell whether a module is a package's ``__init__`` that holds its docstring alone."""
    path = module_file(module)
    return path is not None and path.name == "__init__.py" and len(parse_module(module).body) <= 1


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
    for node in _runtime_nodes(parse_module(module)):
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
