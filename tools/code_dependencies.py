"""Write which stages run which module: ``python -m tools.code_dependencies``.

The table, tests/workflow/code_dependencies.txt, is what tests/workflow/test_fingerprints.py holds the imports
to: a line a module, with the stages whose fingerprint changes when the module's code does.
"""

from pathlib import Path

from rankwise.workflow.fingerprints import STAGE_METHODS, STAGES, fingerprint, list_methods
from rankwise.workflow.imports import PACKAGE
from rankwise.workflow.rules import RULES

TABLE = Path(__file__).parents[1] / "tests/workflow/code_dependencies.txt"


def list_modules() -> list[str]:
    """Return every module of the package, faces that hold a docstring alone included."""
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    names = (
        ".".join(path.with_suffix("").parts).removesuffix("__init__").rstrip(".") for path in paths
    )
    return sorted(f"rankwise.{name}" if name else "rankwise" for name in names)


def find_dependencies() -> dict[str, set[str]]:
    """Return module → the fingerprints that list it, such as ``evaluate`` or ``decompose.svd``."""
    wanted = [(stage, None) for stage in STAGES]
    wanted += [(stage, m) for stage, kind in STAGE_METHODS.items() for m in list_methods(kind)]
    found = {module: set[str]() for module in list_modules()}
    for stage, method in wanted:
        name = stage if method is None else f"{stage}.{method}"
        content = fingerprint(stage, method, None, RULES)
        for module in content["modules"]:
            found[module].add(name)
        for path in content["files"]:
            if path.endswith(".py"):  # travels in a checkpoint, byte for byte
                found[path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")].add(
                    name
                )
    return found


def format_table(dependencies: dict[str, set[str]]) -> str:
    """Return the table as text; ``decompose.*`` stands for every method of a stage."""
    lines = (
        f"{module}: {' '.join(_shorten(stages))}".rstrip()
        for module, stages in dependencies.items()
    )
    return "\n".join(lines) + "\n"


def _shorten(stages: set[str]) -> list[str]:
    """Return the names of stages, sorted, with one name for all methods of a stage."""
    listed = set(stages)
    for stage, kind in STAGE_METHODS.items():
        every = {f"{stage}.{method}" for method in list_methods(kind)}
        if every <= listed:
            listed = listed - every | {f"{stage}.*"}
    return sorted(listed)


def main() -> None:
    """Write the table."""
    TABLE.write_text(format_table(find_dependencies()), encoding="utf-8")


if __name__ == "__main__":
    main()
