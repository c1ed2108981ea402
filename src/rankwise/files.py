"""Writing so that nothing looks finished that is not, and hashing what was written."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on success flush it to disk and rename it over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """Return the one JSON form that this project writes: sorted keys, no NaN, newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def linked(path: Path, to: Path) -> None:
    """Let a file also be at another place, whole or not at all: without a copy where the disk is the same."""
    with replacing(to) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # another disk
            shutil.copyfile(path, temporary)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    write_text(path, to_json(value))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_if_changed(path: Path, text: str) -> bool:
    """Write only where the content differs, so that the modification time means something."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is a RankwiseError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; run the stage that makes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RankwiseError(
            f"{path} is not JSON ({error}); delete it and run its stage again"
        ) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
