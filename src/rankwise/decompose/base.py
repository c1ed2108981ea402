"""What a decomposer is: frozen hyper-parameters, and a call from weight and statistics to factors."""

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
    """One way to factor a weight; its fields are the keys of its section in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: ClassVar[bool] = False
    """Whether the factors carry a bias [out], which then counts against ``keep``."""

    gradient: ClassVar[bool] = False
    """Whether the method needs the gradients at the outputs (the stage fisher is then run)."""

    moments: ClassVar[RequiredStatistics] = RequiredStatistics.INPUTS
    """What the method needs of its inputs; the pass gathers no more than the methods of the runs need."""

    workspace: ClassVar[float] = 3.0
    """Matrices of the size of a weight, in float64, that it and the errors behind it hold at once, for the plan [-]."""

    nested: ClassVar[bool] = True
    """Whether the first r components are the factors of every smaller rank, whatever the largest is."""

    measure: ClassVar[Measure] = Measure.SIZE
    """What the spectrum says of the components; allocators that need more are refused."""

    dense: tuple[str, ...] = ()
    """Types of linear that this method leaves as they are, as the model's family names them (q, k, v, o, gate, up, down, …)."""

    @property
    def ranks(self) -> int | None:
        """What all ranks of its ladder are multiples of; ``None`` for methods that have every rank."""
        return None

    @abstractmethod
    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] given its input's statistics, up to ``rank`` components.

        Components are sorted so that the first r of them are the factors of rank r (truncation is
        slicing); where a method cannot promise that (`nested`), its ladder holds the ranks that it
        serves. Returns float64 factors; the caller chooses the stored precision. Import torch in
        here, not above: params.yaml is read with every method, and that should be quick.
        """
