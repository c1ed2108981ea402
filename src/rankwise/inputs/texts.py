"""Reading of a text file as one string: plain text, JSON lines (also gzipped) or parquet."""

import gzip
import json
import zlib
from pathlib import Path

from rankwise.errors import RankwiseError

JOIN = "\n\n"
"""Separator between documents, as the papers join WikiText-2."""


def read_text(path: Path, field: str, characters: int | None) -> str:
    """Return the text of a file; a blank line separates documents.

    ``field`` is the column of the text in JSON lines (``.jsonl``, ``.json``, also ``.gz``) and parquet.
    Plain text is returned unchanged. ``characters`` is the maximum length of the result [characters].
    Raises RankwiseError for a broken file.
    """
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith((".jsonl", ".json")):
            text = _read_json_lines(path, field, characters)
        elif name.endswith(".parquet"):
            text = _read_parquet(path, field)
        else:
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RankwiseError(f"{path} is not UTF-8 text: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RankwiseError(
            f"{path} is not a complete gzip file ({error}); get it again"
        ) from error
    return text[:characters]


def _read_json_lines(path: Path, field: str, characters: int | None) -> str:
    documents: list[str] = []
    length = 0
    unzip = gzip.open if path.suffix == ".gz" else open
    with unzip(path, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                document = _check_document(json.loads(line)[field])
            except (ValueError, RecursionError, KeyError, TypeError) as error:
                raise RankwiseError(
                    f"{path}, line {number}: expected a JSON object whose '{field}' is text ({type(error).__name__}); "
                    "name the column in prepare.corpora.….field"
                ) from error
            documents.append(document)
            length += len(document) + len(JOIN)
            if characters is not None and length >= characters:
                break
    return JOIN.join(documents)


def _read_parquet(path: Path, field: str) -> str:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path, columns=[field])
        return JOIN.join(_check_document(value) for value in table[field].to_pylist())
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise RankwiseError(f"{path}: no readable column of text '{field}' ({error})") from error


def _check_document(value: object) -> str:
    """Return ``value`` as a document; TypeError if it is not text, ValueError if UTF-8 cannot encode it."""
    if not isinstance(value, str):
        raise TypeError(f"found {type(value).__name__}")
    if not value.isascii():
        value.encode()
    return value
