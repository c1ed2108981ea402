"""The interface of a refiner: frozen hyper-parameters, and a call that trains a compressed model in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rankwise.model.family import Family
    from rankwise.records.refine import Curve


@dataclass(frozen=True)
class Refinement:
    """The input of a refiner: the models and the calibration text."""

    dense: Any
    """The dense model; never changed."""
    compressed: Any
    """The model to train; both models are in evaluation mode, on the device for training."""
    family: Family
    ids: Tensor
    """[sequences, length] integers: calibration text, on the CPU."""
    training: int
    """Number of training sequences, the first ones; the rest is held out [sequences]."""
    work: Path | None = None
    """Folder of finished layers, from which a stopped call resumes; None: save none."""
    fingerprint: str = ""
    """Hash of everything that a finished layer depends on; layers with another fingerprint are not loaded."""


class Refiner(BaseModel, ABC):
    """A method to train a compressed model; its fields are the keys of its section in params.yaml.

    Every refiner guarantees:

    - ranks, biases and therefore ``keep`` do not change;
    - it never trains on held-out sequences;
    - the same seed gives the same bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str] = ""
    """What the method is, in one sentence for the report; `…` and ``…`` mark code."""

    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.125
    """Share of the calibration sequences, the last ones, that only selects the best state [-]."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's learning rate at the start of a cosine decay to zero [-]."""
    epochs: Annotated[int, Field(ge=1)]
    """Most passes over the training sequences [-]."""
    patience: Annotated[int, Field(ge=1)] = 5
    """Training stops after this many epochs without a new best on the held-out text [epochs]."""
    batch: Annotated[int, Field(ge=1)]
    """Sequences in one step [-]."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all random draws."""

    def split(self, sequences: int) -> int:
        """Return the number of training sequences; raises RankwiseError where none would remain."""
        held_out = max(1, round(self.held_out * sequences))
        if sequences <= held_out:
            raise RankwiseError(
                f"{sequences} calibration sequences, {held_out} of them held out, leave none to train on; "
                "refinement needs calibration text: raise sample.calibration.sequences or lower refine.….held_out"
            )
        return sequences - held_out

    @abstractmethod
    def __call__(self, problem: Refinement) -> list[Curve]:
        """Train ``problem.compressed`` in place and return the loss curves.

        The trained parameters end in the state that was best on the held-out text, the initial one
        included. Import torch inside this function, because reading params.yaml imports every method.
        """
