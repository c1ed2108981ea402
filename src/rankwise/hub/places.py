"""How the places of a sparse part's entries are stored, and what they take."""

import math
from typing import Literal


def index_bits(shape: tuple[int, int], entries: int) -> tuple[Literal["bitmask", "csr"], int]:
    """Return how the places of sparse entries are stored, whichever is smaller, and its size [bits]."""
    if not entries:
        return "csr", 0
    mask, rows = bitmask_bits(shape), csr_bits(shape, entries)
    return ("bitmask", mask) if mask < rows else ("csr", rows)


def bitmask_bits(shape: tuple[int, int]) -> int:
    """Return the size of one bit an entry, rows padded to bytes [bits]."""
    out, columns = shape
    return out * math.ceil(columns / 8) * 8


def csr_bits(shape: tuple[int, int], entries: int) -> int:
    """Return the size of CSR's indices: a column an entry (16 bits where they suffice), 32 bits a row."""
    out, columns = shape
    return entries * column_bits(columns) + (out + 1) * 32


def column_bits(columns: int) -> int:
    """Return the size of a signed integer that can number the columns [bits]."""
    return 16 if columns <= 2**15 else 32
