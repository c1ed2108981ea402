"""The interface of an allocator: frozen hyper-parameters, and a call from a problem to choices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Allocator(BaseModel, ABC):
    """A method to spend a budget; its fields are the keys of its section in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str] = ""
    """What the method is, in one sentence for the report; `…` and ``…`` mark code."""
    scores: ClassVar[bool] = False
    """Whether it scores choices on search text (the stage then loads model and text)."""
    statistics: ClassVar[bool] = False
    """Whether it needs the similarity of hidden states before and after a sublayer (`Problem.similarity`)."""

    multiple: Annotated[int, Field(ge=1)] = 8
    """Ranks are multiples of this (Bolaco: 8) [-]."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Least share of its break-even rank that every matrix keeps, whatever the method computes [-]."""

    @property
    def requires(self) -> Measure:
        """Least meaning of the decomposer's spectrum that it needs; reading params.yaml refuses a run with less."""
        return Measure.NONE

    @abstractmethod
    def __call__(self, problem: Problem) -> Choices:
        """Return the choice of every linear of the problem; ``None`` for a linear that stays dense."""


class ScoringAllocator(Allocator):
    """An allocator that scores allocations on search text; a number of trials limits it, never the time."""

    scores: ClassVar[bool] = True

    trials: Annotated[int, Field(ge=1)] = 50
    """Allocations to try [-]; Bolaco: 50."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all random draws; a run's own ``seed`` replaces it."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Search sequences in one forward pass [-]."""
