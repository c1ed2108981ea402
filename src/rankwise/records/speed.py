"""The speed of one run next to the dense model."""

from typing import ClassVar

from pydantic import BaseModel

from rankwise.records.base import Record


class Rate(BaseModel):
    """Tokens a second over the timed repeats."""

    median: float
    """[tokens/s]."""
    quartiles: tuple[float, float]


class SpeedPoint(BaseModel):
    """What one model does at one batch size."""

    batch: int
    prefill: Rate
    decode: Rate
    memory_bytes: int
    """Weights in use and, on the CPU, keys and values; on a GPU the most allocated beside the weights [bytes]."""


class SpeedRecord(Record):
    """Speed of one run, measured in turn with the dense model in one process, at every batch size asked."""

    schema_name: ClassVar[str] = "rankwise/speed@2"
    run: str
    points: list[SpeedPoint]
    """Of the run, by rising batch size."""
    dense: list[SpeedPoint]
    """Of the dense model beside it, in the same order."""
    length: int
    """Of the prompt [tokens]."""
    new_tokens: int
    """Decoded behind the prompt [tokens]."""
    repeats: int
    device: str
    threads: int

    @property
    def tokens_per_second(self) -> float:
        """Prefill at the largest batch: the number of the study's table [tokens/s]."""
        return self.points[-1].prefill.median
