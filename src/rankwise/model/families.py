"""Registry of model families: one YAML file each, discovered in a folder, keyed by architecture.

The stage prepare looks the family up once; later stages read it from the model's manifest.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError, nearest
from rankwise.files.resources import resource
from rankwise.files.yamls import read_yaml
from rankwise.model.family import Family
from rankwise.params.section import validate

SHIPPED = resource(__file__, "family_files")
"""Folder of the families that the package contains."""
FAMILIES = Path("families")
"""Folder in which a study may describe its own families."""
PAGE = (
    "docs/extending.md says how to describe a family in one file, in the study's folder families/"
)


def read_family(path: Path) -> Family:
    """Read one family file; raises RankwiseError that names file and key of every mistake."""
    keys = read_yaml(path)
    if not isinstance(keys, dict):
        raise RankwiseError(
            f"{path} must hold the keys of a family (architectures, layers, sublayers), found {type(keys).__name__}"
        )
    return validate(Family, keys, str(path), ())


def families(folder: Path = SHIPPED) -> dict[str, Family]:
    """Return every family of a folder by the name of its file."""
    return {path.stem: read_family(path) for path in sorted(folder.glob("*.yaml"))}


@cache
def _shipped_families() -> dict[str, Family]:
    """Return the package's own families, read once a process."""
    return families()


def family_of(
    architecture: str, setting: Callable[[str], Any] = lambda _: None, own: Path | None = None
) -> Family:
    """Return the family of an architecture string from ``config.json``, its experts counted.

    ``setting`` returns the value of a key of the model's configuration, None for a missing key.
    Families in the folder ``own`` come before those of the package. Raises RankwiseError where no
    family fits, or where several of one folder do.
    """
    candidates = families_of(architecture, own)
    for folder, by_file in candidates.items():
        fitting = [file for file, family in by_file.items() if _conditions_hold(family, setting)]
        if len(fitting) > 1:
            raise RankwiseError(
                f"architecture {architecture} is in several families of {folder}: {', '.join(fitting)}; "
                "tell them apart by 'when', or remove one"
            )
        if fitting:
            return _with_expert_count(by_file[fitting[0]], fitting[0], setting)
    conditions = "; or ".join(
        f"{file}: {key} = {value!r}, here {setting(key)!r}"
        for by_file in candidates.values()
        for file, family in by_file.items()
        for key, value in family.when.items()
        if setting(key) != value
    )
    raise RankwiseError(
        f"architecture {architecture} is not supported with this configuration ({conditions}). {PAGE}"
    )


def families_of(architecture: str, own: Path | None = None) -> dict[Path, dict[str, Family]]:
    """Return the families that name an architecture, by folder and file; RankwiseError if none does."""
    folders = [SHIPPED] if own is None else [own, SHIPPED]
    all_families = {f: _shipped_families() if f == SHIPPED else families(f) for f in folders}
    matching = {
        folder: {
            file: family for file, family in by_file.items() if architecture in family.architectures
        }
        for folder, by_file in all_families.items()
    }
    if not any(matching.values()):
        valid = {
            name
            for by_file in all_families.values()
            for family in by_file.values()
            for name in family.architectures
        }
        raise RankwiseError(
            f"architecture '{architecture}' belongs to no known family; {nearest(architecture, valid)}. {PAGE}"
        )
    return matching


def _conditions_hold(family: Family, setting: Callable[[str], Any]) -> bool:
    return all(setting(key) == value for key, value in family.when.items())


def _with_expert_count(family: Family, file: str, setting: Callable[[str], Any]) -> Family:
    """Return the family with its number of experts instead of the configuration key for it."""
    if not isinstance(family.experts, str):
        return family
    count = setting(family.experts)
    if not isinstance(count, int) or count < 1:
        raise RankwiseError(
            f"family {file}: experts: '{family.experts}' names a number in the model's configuration, found {count!r}"
        )
    return family.model_copy(update={"experts": count})
