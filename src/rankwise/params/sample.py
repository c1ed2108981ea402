"""Section sample: windows of tokens, a set for each role."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Count, Section, Seed

ROLES = ("calibration", "search", "test")
FURTHER = "test-"
"""Prefix of the roles of extra test texts."""


class Sample(Section):
    """Windows of tokens drawn from one corpus for one role."""

    corpus: str
    sequences: Count | None = None
    """Number of windows; null = all windows, in order (test text only)."""
    length: Annotated[int, Field(ge=2)] = 128
    """Window length [tokens]."""
    seed: Seed = 0


class SampleRoles(Section):
    """Section ``sample``: the three roles, and extra test texts."""

    calibration: Sample
    search: Sample
    test: Sample
    further: dict[str, Sample] = Field(default_factory=dict)
    """Name → windows of an extra test text; measured like the first, and never used for a choice."""

    def by_role(self) -> dict[str, Sample]:
        """Return every set of windows by its role; extra test texts have the roles ``test-<name>``."""
        further = {f"{FURTHER}{name}": sample for name, sample in self.further.items()}
        return {role: getattr(self, role) for role in ROLES} | further
