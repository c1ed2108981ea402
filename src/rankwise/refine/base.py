"""What a refiner is: frozen hyper-parameters, and a call that trains a compressed model in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rankwise.model.family import Family
    from rankwise.records.made import Curve


@dataclass(frozen=True)
class Refinement:
    """One model to refine, and the text to do it with."""

    dense: Any
    """The dense model; never changed."""
    compressed: Any
    """The model that is trained; both in evaluation mode, on the device to train on."""
    family: Family
    ids: Tensor
    """[sequences, length] integers: calibration text, on the CPU."""
    training: int
    """How many sequences, the first ones, are trained on; the rest is held out [sequences]."""
    work: Path | None = None
    """Folder of finished parts, taken up again by a call that was stopped; None: keep none."""
    fingerprint: str = ""
    """Hash of everything that a finished part depends on; parts under another are not taken up."""


class Refiner(BaseModel, ABC):
    """One way to train a compressed model; its fields are the keys of its section in params.yaml.

    What every refiner promises: ranks, biases and therefore ``keep`` stay as they are; sequences
    held out are never trained on; same seed, same bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.125
    """Share of the calibration sequences, the last ones, that only decides which state is kept [-]."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's, at the start of a cosine decay to zero [-]."""
    epochs: Annotated[int, Field(ge=1)]
    """Passes over the training sequences, at most [-]."""
    patience: Annotated[int, Field(ge=1)] = 5
    """Training stops after so many epochs without a new best on the held-out text [epochs]."""
    batch: Annotated[int, Field(ge=1)]
    """Sequences in one step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of all that is drawn."""

    def split(self, sequences: int) -> int:
        """Return how many of the calibration sequences are trained on; refuses too few."""
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

        Whatever is trained ends in the state that was best on the held-out text, the one it began
        with included. Import torch in here, not above: params.yaml is read with every method.
        """
