"""What an allocator is: frozen hyper-parameters, and a call from a problem to ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Allocator(BaseModel, ABC):
    """One way to spend a budget; its fields are the keys of its section in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scores: ClassVar[bool] = False
    """Whether it scores candidates on search text (the stage then loads model and text)."""
    statistics: ClassVar[bool] = False
    """Whether it asks how similar the hidden states around a sublayer are (`Problem.similarity`)."""

    multiple: Annotated[int, Field(ge=1)] = 8
    """Ranks are multiples of this (Bolaco: 8) [-]."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Least share of a matrix's break-even rank that it keeps, whatever the method says [-]."""

    @property
    def requires(self) -> Measure:
        """What the decomposer's spectrum must say at least; less is refused when params.yaml is read."""
        return Measure.NONE

    @abstractmethod
    def __call__(self, problem: Problem) -> Choices:
        """Return what every linear of the problem keeps, ``None`` for those left dense."""


class ScoringAllocator(Allocator):
    """An allocator that tries candidates on search text, a number of trials, never of minutes."""

    scores: ClassVar[bool] = True

    trials: Annotated[int, Field(ge=1)] = 50
    """Allocations tried [-]; Bolaco: 50."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of all that is drawn; a run's own ``seed`` stands in for it."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Search sequences in one forward pass."""
