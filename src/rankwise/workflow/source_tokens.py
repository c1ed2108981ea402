"""What a source file says to Python: its tokens without comments, docstrings and layout.

The same text gives the same tokens on every Python that the project supports: an f-string is one token,
which is what Python 3.11 makes of it.
"""

import hashlib
import io
import token
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

OPENS = {
    getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)
}
CLOSES = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}
DROPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


@dataclass
class LogicalLine:
    """One statement, or the header of a compound one."""

    depth: int
    """How far it is indented [levels]."""
    words: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    @property
    def is_string(self) -> bool:
        """Whether it is nothing but a string: a docstring, of a module, class, function or attribute."""
        return bool(self.kinds) and all(kind == tokenize.STRING for kind in self.kinds)


def read_logical_lines(source: str) -> list[LogicalLine]:
    """Return the logical lines of Python or Snakemake source, comments and blank lines left out."""
    lines, depth = [LogicalLine(0)], 0
    for kind, text in _tokens(source):
        if kind == tokenize.INDENT:
            depth += 1
        elif kind == tokenize.DEDENT:
            depth -= 1
        elif kind == tokenize.NEWLINE:
            lines.append(LogicalLine(depth))
            continue
        else:
            lines[-1].words.append(text)
            lines[-1].kinds.append(kind)
        if not lines[-1].words:
            lines[-1].depth = depth
    return [line for line in lines if line.words]


def hash_python(source: str) -> str:
    """Return the SHA-256 of a module's tokens without comments, docstrings and layout."""
    return hash_lines(line for line in read_logical_lines(source) if not line.is_string)


def hash_lines(lines: Iterable[LogicalLine]) -> str:
    """Return the SHA-256 of logical lines: their words, and how deep they are nested."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line.depth}\0{chr(0).join(line.words)}\n".encode())
    return digest.hexdigest()


def _tokens(source: str) -> Iterator[tuple[int, str]]:
    """Yield kind and text of every token that means something; an f-string is one string."""
    rows = source.splitlines(keepends=True)
    nested, start = 0, (0, 0)
    for found in tokenize.generate_tokens(io.StringIO(source).readline):
        if found.type in OPENS:
            start = start if nested else found.start
            nested += 1
        elif found.type in CLOSES:
            nested -= 1
            if not nested:
                yield tokenize.STRING, _between(rows, start, found.end)
        elif not nested and found.type not in DROPPED:
            yield found.type, found.string


def _between(rows: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the source between two positions (row from 1, column in characters)."""
    if start[0] == end[0]:
        return rows[start[0] - 1][start[1] : end[1]]
    middle = rows[start[0] : end[0] - 1]
    return "".join([rows[start[0] - 1][start[1] :], *middle, rows[end[0] - 1][: end[1]]])
