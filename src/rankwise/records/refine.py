"""How a refinement trained, and whether it helped."""

from typing import Any, ClassVar

from pydantic import BaseModel

from rankwise.records.base import Record


class Curve(BaseModel):
    """How one training went: of one decoder layer, or of the whole model."""

    layer: int | None
    """The block; null: the whole model."""
    train: list[float | None]
    """Mean loss over every epoch, in the refiner's own measure; null where it is not finite."""
    held_out: list[float | None]
    """The same measure on held-out text: before the first epoch, then after every one."""
    best: int
    """Epoch whose state is kept; 0: the state before the first."""


class RefineRecord(Record):
    """What a refinement did: from which run, by which method, and whether it helped."""

    schema_name: ClassVar[str] = "rankwise/refine@1"
    file: ClassVar[str] = "refine.{}.json"
    """Its name in the folder of the run, and of those refined further."""
    run: str
    of: str
    """The run that it started from."""
    method: str
    parameters: dict[str, Any]
    """The refiner's section, as used."""
    training_sequences: int
    held_out_sequences: int
    sequence_length: int
    """[tokens]."""
    dense_loss: float | None
    """Mean negative log-likelihood of the dense model on the held-out sequences; null where it is not finite [nats/token]."""
    loss_before: float | None
    """The same of the run it started from."""
    loss_after: float | None
    """The same of the refined model."""
    returned_input: bool
    """Whether the checkpoint is the one it started from, the refined one being no better."""
    curves: list[Curve]
