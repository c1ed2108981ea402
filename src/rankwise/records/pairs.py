"""A run against a reference on the same windows and items: differences with their intervals.

How they are computed is in `rankwise.evaluate.paired`.
"""

from pydantic import BaseModel

NOISE = "\u2248"
"""Stands beside a difference whose interval holds zero."""


class Difference(BaseModel):
    """A mean difference, run less reference, and its paired bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def noise(self) -> bool:
        """Whether the interval holds zero: the two cannot be told apart."""
        return self.low <= 0 <= self.high


class TaskPair(BaseModel):
    """One task, a run against a reference on the same items."""

    acc: Difference
    gained: int
    """Items that only the run has right."""
    lost: int
    """Items that only the reference has right."""
    p: float
    """Of McNemar's exact test: that so uneven a split of ``gained + lost`` comes by chance [-]."""


class Pair(BaseModel):
    """A run against a reference, everything paired."""

    reference: str
    losses: dict[str, Difference]
    """By role of the text: mean negative log-likelihood [nats/token]."""
    tasks: dict[str, TaskPair]
    average: Difference | None
    """Of the mean over tasks of acc, tasks resampled apart [-]; null without tasks."""
