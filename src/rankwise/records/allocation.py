"""The ranks of one run."""

from typing import Any, ClassVar

from pydantic import BaseModel

from rankwise.records.asked import Asked
from rankwise.records.base import Record


class LinearRank(BaseModel):
    """What one linear becomes."""

    layer: int
    kind: str
    """Its role in a block, as its family names it."""
    rank: int | None
    """None: left dense."""
    entries: int = 0
    """Entries of the sparse part [-]."""
    shape: tuple[int, int]
    """[out, in]."""
    parameters: int
    """Weights, factors, bias, sparse entries and their places that remain [-]."""
    relative_error: float | None
    """Predicted squared error as a share of what dropping the matrix would cost, by the decomposer's own measure; null where it has none [-]."""


class AllocationRecord(Asked, Record):
    """Ranks of one run."""

    schema_name: ClassVar[str] = "rankwise/allocation@3"
    run: str
    decompose: str
    allocate: str
    parameters: dict[str, Any]
    """The allocator's section, as used."""
    keep_reached: float
    parameters_reached: int
    """All parameters of the model by this plan [-]."""
    checkpoint_bytes_reached: int | None
    """Bytes of its weight files by this plan; null unless they were asked for [bytes]."""
    keep_index_free: float
    """The same choices as papers on sparse parts count them, places for nothing; else equal [-]."""
    linears: dict[str, LinearRank]
    search: dict[str, float | int | None]
    """Summary of the search: trials, failed, best trial, its objective, perplexity and KL; empty without one."""
