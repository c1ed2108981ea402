"""Files of data that the package's code reads, such as templates; code fingerprints count their bytes."""

from pathlib import Path


def resource(module_file: str, name: str) -> Path:
    """Return the file or folder ``name`` next to a module; call it with ``__file__`` and a literal name.

    `rankwise.workflow.fingerprints` finds these calls in the syntax tree, so that a changed template
    re-runs what it is printed by.
    """
    return Path(module_file).parent / name
