"""How a checkpoint was built, and what its self-check found."""

from typing import Any, ClassVar

from pydantic import BaseModel

from rankwise.records.allocation import AllocationRecord
from rankwise.records.base import Record
from rankwise.records.model import ModelManifest


class SelfCheck(BaseModel):
    """The checkpoint opened again, on some of the calibration text: mean losses [nats/token]."""

    sequences: int
    length: int
    """[tokens]."""
    dense_loss: float
    expected_loss: float
    """Of the factors as they were stored, before the checkpoint was written."""
    loss: float
    """Of the checkpoint."""
    unigram_loss: float
    """Of token frequencies alone: a model above it predicts nothing."""


class LinearCheck(BaseModel):
    """How far one linear is from the dense weight W: ‖W − Ŵ‖_F / ‖W‖_F [-]."""

    predicted_error: float
    """Of the factors as they were stored."""
    error: float
    """Of the checkpoint."""


class BuildRecord(Record):
    """How a checkpoint was made, inside its folder: from what, by which choices, and whether it is right."""

    schema_name: ClassVar[str] = "rankwise/build@1"
    file: ClassVar[str] = "record.json"
    """Its name in the folder."""
    run: str
    command: str
    """Command line of the stage, relative to the study."""
    model: ModelManifest
    """The dense model: source, revision, hashes."""
    calibration: dict[str, Any]
    """Corpus, its hash, seed, and where each sequence starts in the corpus's tokens."""
    allocation: AllocationRecord
    """Ranks, entries and the allocator's section, its seed included."""
    versions: dict[str, str]
    notes: dict[str, dict[str, Any]]
    """Linear → damping used, what was out of the ordinary."""
    check: SelfCheck
    linears: dict[str, LinearCheck]
    """Every factored linear, compared with the dense one."""
