"""Finding out what is not as it was written: artifacts that hold their own digest."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json

CHECKSUM = "sha256"
"""Key under which a JSON object holds the digest of all its other keys."""


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is a RankwiseError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; make it with: rankwise run") from error
    except OSError as error:
        raise RankwiseError(f"{path} cannot be read ({error.strerror})") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # no JSON, no UTF-8, numbers or depth beyond sense
        raise RankwiseError(f"{path} is not JSON ({error}); {repair_hint(path)}") from error


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the digest of its keys and values beside them, anew if it has one."""
    rest = {key: given for key, given in value.items() if key != CHECKSUM}
    return {**rest, CHECKSUM: hashlib.sha256(to_json(rest).encode()).hexdigest()}


def without_checksum(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Return a sealed object as it was given; raises RankwiseError where it is not what was written."""
    try:
        found = with_checksum(value)[CHECKSUM]
    except ValueError:  # NaN, a lone surrogate: nothing that this project writes
        found = "no JSON that rankwise writes"
    if found != value.get(CHECKSUM):
        raise damage_error(path, f"SHA-256 {value.get(CHECKSUM)}", f"SHA-256 {found}")
    return {key: given for key, given in value.items() if key != CHECKSUM}


def to_checksummed_lines(rows: list[dict[str, Any]]) -> str:
    """Return JSON lines, the last of which says how many there are and their digest."""
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    return text + json.dumps(_closing_line(text)) + "\n"


def read_checksummed_lines(path: Path) -> list[dict[str, Any]]:
    """Read what `to_checksummed_lines` made; raises RankwiseError for a file that is not as it was written."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = [json.loads(line) for line in lines]
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; make it with: rankwise run") from error
    except (ValueError, RecursionError) as error:
        raise RankwiseError(f"{path} is not JSON lines ({error}); {repair_hint(path)}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise RankwiseError(f"{path}: every line must be a JSON object; {repair_hint(path)}")
    if not rows or rows[-1].keys() != _closing_line("").keys():
        raise damage_error(path, "a last line with number and SHA-256 of the rows", "no such line")
    said, found = rows[-1], _closing_line("".join(lines[:-1]))
    if found != said:
        raise damage_error(path, _describe_closing(said), _describe_closing(found))
    return rows[:-1]


def _describe_closing(closing: dict[str, Any]) -> str:
    """Return what a closing line says, no longer than a sentence bears."""
    return f"{str(closing['rows'])[:80]} rows of SHA-256 {str(closing[CHECKSUM])[:80]}"


def _closing_line(text: str) -> dict[str, Any]:
    return {"rows": text.count("\n"), CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}


def damage_error(path: Path, expected: str, found: str) -> RankwiseError:
    """Return the error for an artifact that is not as it was written."""
    return RankwiseError(
        f"{path} is not as it was written: expected {expected}, found {found}; {repair_hint(path)}"
    )


def repair_hint(path: Path) -> str:
    """Return how an artifact is made again: its own stage, and no other, runs."""
    return f"make it again with: rm -r {shlex.quote(str(path))} && rankwise run"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; make it with: rankwise run") from error
