"""Validation of paths read from a file: they must stay inside their folder."""

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from rankwise.errors import RankwiseError

DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, with any extension."""
LONGEST = 255
"""Maximum length of a name on common file systems [bytes]."""
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def resolve_inside(root: Path, name: object, where: str) -> Path:
    """Return ``root / name``; raises RankwiseError, with the source ``where``, for a path outside ``root``.

    Refused are absolute paths and steps upwards, in POSIX or Windows notation, control characters, device
    names, names too long for a disk, and links that leave ``root``. The one exception is the Hub's cache:
    a snapshot consists of links to the ``blobs`` next to it.
    """
    if not isinstance(name, str) or not name:
        raise RankwiseError(f"{where}: expected the name of a file, found {str(name)[:80]!r}")
    parts = PurePosixPath(name).parts + PureWindowsPath(name).parts
    if (
        CONTROL.search(name)
        or not PurePosixPath(name).parts
        or PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).drive
        or PureWindowsPath(name).root
        or ".." in parts
        or any(DEVICES.fullmatch(part) or len(part.encode()) > LONGEST for part in parts)
    ):
        raise RankwiseError(
            f"{where}: {name[:80]!r} is not a path below {root}; name a file in that folder"
        )
    path = root / name
    try:
        real, allowed = path.resolve(), [root.resolve()]
    except (OSError, RuntimeError) as error:  # a name too long, a link to itself
        raise RankwiseError(f"{where}: {name[:80]!r} cannot be looked up ({error})") from error
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent.resolve() / "blobs")
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise RankwiseError(
            f"{where}: {path} is a link that leads out of {root}; put the file there"
        )
    return path
