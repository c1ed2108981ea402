"""Checksummed artifacts: files that contain their own digest, so that damage is detected."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json

CHECKSUM = "sha256"
"""Key of the digest of all other keys of a JSON object."""


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
    ) as error:  # not JSON, not UTF-8, numbers too large or nesting too deep
        raise RankwiseError(f"{path} is not JSON ({error}); {repair_hint(path)}") from error


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the digest of its other keys and values; replaces an old digest."""
    rest = {key: item for key, item in value.items() if key != CHECKSUM}
    return {**rest, CHECKSUM: hashlib.sha256(to_json(rest).encode()).hexdigest()}


def without_checksum(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Return a checksummed object without its digest; raises RankwiseError if the digest does not match."""
    try:
        digest = with_checksum(value)[CHECKSUM]
    except ValueError:  # NaN or a lone surrogate, which this project never writes
        digest = "no JSON that rankwise writes"
    if digest != value.get(CHECKSUM):
        raise damage_error(path, f"SHA-256 {value.get(CHECKSUM)}", f"SHA-256 {digest}")
    return {key: item for key, item in value.items() if key != CHECKSUM}


def to_checksummed_lines(rows: list[dict[str, Any]]) -> str:
    """Return JSON lines and a last line with their number and digest."""
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    return text + json.dumps(_closing_line(text)) + "\n"


def read_checksummed_lines(path: Path) -> list[dict[str, Any]]:
    """Read lines of `to_checksummed_lines`; raises RankwiseError if the digest does not match."""
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
    expected, actual = rows[-1], _closing_line("".join(lines[:-1]))
    if actual != expected:
        raise damage_error(path, _describe_closing(expected), _describe_closing(actual))
    return rows[:-1]


def _describe_closing(closing: dict[str, Any]) -> str:
    """Return the number and digest of a closing line, truncated for an error."""
    return f"{str(closing['rows'])[:80]} rows of SHA-256 {str(closing[CHECKSUM])[:80]}"


def _closing_line(text: str) -> dict[str, Any]:
    return {"rows": text.count("\n"), CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}


def damage_error(path: Path, expected: str, found: str) -> RankwiseError:
    """Return the error for a damaged artifact."""
    return RankwiseError(
        f"{path} is not as it was written: expected {expected}, found {found}; {repair_hint(path)}"
    )


def repair_hint(path: Path) -> str:
    """Return the command that makes an artifact again; it runs only the artifact's own stage."""
    return f"make it again with: rm -r {shlex.quote(str(path))} && rankwise run"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; make it with: rankwise run") from error
