"""Atomic writes: a file or folder gets its name only when it is complete."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError

REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
)
"""Error numbers of disk errors that the user can fix."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on success flush it to disk and rename it to ``path``.

    Temporary files that killed processes left of the same artifact are removed. Raises RankwiseError
    that names the artifact if the disk refuses the write (full, read-only, no permission).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in _find_stale(path):
            _remove(stale)
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.exists():
            _remove(path)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise RankwiseError(
            f"{path} could not be written ({error.strerror}); make room, or give permission, in {path.parent}, "
            "then run the same again: what is finished stays"
        ) from error
    finally:
        if temporary.exists():
            _remove(temporary)


def _find_stale(path: Path) -> list[Path]:
    """Return temporary siblings of ``path`` whose process no longer runs."""
    start, end = f".{path.name}.", ".tmp"
    stale = []
    for sibling in path.parent.iterdir():
        pid = sibling.name.removeprefix(start).removesuffix(end)
        if sibling.name == f"{start}{pid}{end}" and pid.isdecimal() and not _is_running(int(pid)):
            stale.append(sibling)
    return stale


def _is_running(pid: int) -> bool:
    """Tell whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _flush(path: Path) -> None:
    """Flush a file, or every file and folder below a folder, to the disk."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
    for folder in [path, *path.rglob("*")] if path.is_dir() else []:
        if folder.is_dir():
            _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: Any) -> str:
    """Return this project's JSON format: sorted keys, no NaN, a newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def link_or_copy(path: Path, to: Path) -> None:
    """Hard-link a file to ``to``, or copy it if the disks differ; atomic."""
    with atomic_write(to) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # another disk
            shutil.copyfile(path, temporary)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    write_text(path, to_json(value))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_if_changed(path: Path, text: str) -> bool:
    """Write only if the content differs, so that the modification time changes only with the content."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True
