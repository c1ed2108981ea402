"""The choices of a run, read from its allocation record."""

from rankwise.budget.costs import Choices, Kept
from rankwise.records.allocation import AllocationRecord


def read_choices(record: AllocationRecord) -> Choices:
    """Return the choice of every linear from an allocation record."""
    return {
        name: None if linear.rank is None else Kept(linear.rank, linear.entries)
        for name, linear in record.linears.items()
    }
