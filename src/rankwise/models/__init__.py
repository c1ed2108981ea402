"""Model families: one file of data each, found by listing this folder, keyed by architecture."""

import importlib
import pkgutil

from rankwise.errors import RankwiseError, nearest
from rankwise.models.base import Family, Linear

__all__ = ["Family", "Linear", "families", "family_of"]


def families() -> dict[str, Family]:
    """Return architecture → family over every file of this folder."""
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name == "base":
            continue
        family: Family = importlib.import_module(f"{__name__}.{module.name}").FAMILY
        for architecture in family.architectures:
            if architecture in found:
                raise RankwiseError(
                    f"architecture {architecture} stands in two family files; one is {module.name}.py"
                )
            found[architecture] = family
    return found


def family_of(architecture: str) -> Family:
    """Return the family of an architecture string from ``config.json``."""
    known = families()
    if architecture not in known:
        raise RankwiseError(
            f"architecture '{architecture}' is of no known family; {nearest(architecture, known)}. "
            "A family is one short file in src/rankwise/models/ (docs/extending.md)"
        )
    return known[architecture]
