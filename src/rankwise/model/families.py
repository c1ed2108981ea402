"""Model families: one YAML file each, found by listing this folder, keyed by architecture.

The stage prepare looks the family up, once; later stages read it from the model's manifest.
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
"""The folder of the families that come with the package."""
FAMILIES = Path("families")
"""Where a study may describe families of its own."""
PAGE = (
    "docs/extending.md says how to describe a family in one file, in the study's folder families/"
)


def read_family(path: Path) -> Family:
    """Read one file; every mistake is a sentence that names file and key."""
    given = read_yaml(path)
    if not isinstance(given, dict):
        raise RankwiseError(
            f"{path} must hold the keys of a family (architectures, layers, sublayers), found {type(given).__name__}"
        )
    return validate(Family, given, str(path), ())


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

    ``setting`` gives the value of a key of the model's configuration, None for one it has not.
    Families in the folder ``own`` come before those of the package. Raises RankwiseError where none,
    or more than one of a folder, fits.
    """
    found = families_of(architecture, own)
    for folder, named in found.items():
        fits = [file for file, family in named.items() if _conditions_hold(family, setting)]
        if len(fits) > 1:
            raise RankwiseError(
                f"architecture {architecture} stands in several families of {folder}: {', '.join(fits)}; "
                "tell them apart by 'when', or remove one"
            )
        if fits:
            return _with_expert_count(named[fits[0]], fits[0], setting)
    needs = "; or ".join(
        f"{file}: {key} = {value!r}, here {setting(key)!r}"
        for named in found.values()
        for file, family in named.items()
        for key, value in family.when.items()
        if setting(key) != value
    )
    raise RankwiseError(
        f"architecture {architecture} is known for other settings of its configuration ({needs}). {PAGE}"
    )


def families_of(architecture: str, own: Path | None = None) -> dict[Path, dict[str, Family]]:
    """Return the families that name an architecture, by folder and file; refuses one that none names."""
    folders = [SHIPPED] if own is None else [own, SHIPPED]
    all_there = {f: _shipped_families() if f == SHIPPED else families(f) for f in folders}
    found = {
        folder: {
            file: family for file, family in there.items() if architecture in family.architectures
        }
        for folder, there in all_there.items()
    }
    if not any(found.values()):
        valid = {
            name
            for there in all_there.values()
            for family in there.values()
            for name in family.architectures
        }
        raise RankwiseError(
            f"architecture '{architecture}' is of no known family; {nearest(architecture, valid)}. {PAGE}"
        )
    return found


def _conditions_hold(family: Family, setting: Callable[[str], Any]) -> bool:
    return all(setting(key) == value for key, value in family.when.items())


def _with_expert_count(family: Family, file: str, setting: Callable[[str], Any]) -> Family:
    """Return the family with the number of its experts in place of the key that holds it."""
    if not isinstance(family.experts, str):
        return family
    count = setting(family.experts)
    if not isinstance(count, int) or count < 1:
        raise RankwiseError(
            f"family {file}: experts: '{family.experts}' names a number in the model's configuration, found {count!r}"
        )
    return family.model_copy(update={"experts": count})
