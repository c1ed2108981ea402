"""The interface of a decomposer: frozen hyper-parameters, and a call from weight and statistics to factors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from rankwise.methods.measure import Measure
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class Decomposer(BaseModel, ABC):
    """A method to factor a weight; its fields are the keys of its section in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str] = ""
    """What the method is, in one sentence for the report; `…` and ``…`` mark code."""

    bias: ClassVar[bool] = False
    """Whether the factors have a bias [out], which then counts against ``keep``."""

    gradient: ClassVar[bool] = False
    """Whether the method needs the gradients at the outputs (the study then runs stage fisher)."""

    moments: ClassVar[RequiredStatistics] = RequiredStatistics.INPUTS
    """Second moments that the method needs; the covariance pass gathers no more than the runs' methods need."""

    workspace: ClassVar[float] = 3.0
    """Memory estimate: float64 matrices of the weight's size held at once, by the method and the error computation after it [-]."""

    nested: ClassVar[bool] = True
    """Whether the first r components are the factors of rank r for every r, whatever the largest rank is."""

    measure: ClassVar[Measure] = Measure.SIZE
    """Meaning of the spectrum; a run whose allocator needs more is refused."""

    dense: tuple[str, ...] = ()
    """Types of linear that this method leaves dense, as the model's family names them (q, k, v, o, gate, up, down, …)."""

    @property
    def ranks(self) -> int | None:
        """Common divisor of all ranks in the method's schedule; ``None`` for methods that have every rank."""
        return None

    @abstractmethod
    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] given its input's statistics, up to ``rank`` components.

        Components are sorted so that the first r of them are the factors of rank r: truncation is
        slicing. Where a method cannot promise that (`nested`), its schedule of (rank, nonzeros) holds
        the ranks that it serves. Returns float64 factors; the caller chooses the stored precision.
        Import torch inside this function, because reading params.yaml imports every method and must be fast.
        """
