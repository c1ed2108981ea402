"""The table of a study."""

from typing import ClassVar

from pydantic import Field

from rankwise.records.asked import Asked
from rankwise.records.base import Record
from rankwise.records.pairs import Pair


class SummaryRow(Asked):
    """One row of the printed table, but for its speed, which is measured and not computed."""

    run: str
    keep_reached: float
    perplexity: float
    zero_shot_average: float | None
    parameters: int
    checkpoint_bytes: int
    against_dense: Pair | None = None
    """Null for the dense model itself."""


class Summary(Record):
    """The table of the study, the dense model first; it holds no time, so that equal scores give equal bytes."""

    schema_name: ClassVar[str] = "rankwise/summary@4"
    title: str
    confidence: float
    """Of the intervals [-]."""
    rows: list[SummaryRow]
    gaps: dict[str, str] = Field(default_factory=dict)
    """Runs that have no row, each with a sentence that says why."""
