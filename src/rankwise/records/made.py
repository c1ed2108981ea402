"""What was made of the model: ranks, checkpoints, refinements."""

from typing import Any, ClassVar

from pydantic import BaseModel

from rankwise.records.base import Asked, FileHash, Record
from rankwise.records.inputs import ModelManifest


class LinearRank(BaseModel):
    """What one linear becomes."""

    layer: int
    kind: str
    """Its role in a block, as its family names it."""
    rank: int | None
    """None: left dense."""
    entries: int = 0
    """Entries of the sparse part [-]."""
    shape: tuple[int, int]
    """[out, in]."""
    parameters: int
    """Weights, factors, bias, sparse entries and their places that remain [-]."""
    relative_error: float | None
    """Predicted squared error as a share of what dropping the matrix would cost, by the decomposer's own measure; null where it has none [-]."""


class AllocationRecord(Asked, Record):
    """Ranks of one run."""

    schema_name: ClassVar[str] = "rankwise/allocation@3"
    run: str
    decompose: str
    allocate: str
    parameters: dict[str, Any]
    """The allocator's section, as used."""
    keep_reached: float
    parameters_reached: int
    """All parameters of the model by this plan [-]."""
    checkpoint_bytes_reached: int | None
    """Bytes of its weight files by this plan; null unless they were asked for [bytes]."""
    keep_index_free: float
    """The same choices as papers on sparse parts count them, places for nothing; else equal [-]."""
    linears: dict[str, LinearRank]
    search: dict[str, float | int | None]
    """Summary of the search: trials, failed, best trial, its objective, perplexity and KL; empty without one."""


class CheckpointManifest(Asked, Record):
    """A compressed checkpoint: written last, so that its folder is whole if it exists.

    What it reached is counted in the files.
    """

    schema_name: ClassVar[str] = "rankwise/checkpoint@2"
    run: str
    keep_reached: float
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the weight files [bytes]."""
        return sum(file.bytes for file in self.files if file.path.endswith(".safetensors"))


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


class FolderFiles(Record):
    """What a checkpoint's folder holds, inside it, for whoever has the folder alone; the card is not listed."""

    schema_name: ClassVar[str] = "rankwise/folder@1"
    file: ClassVar[str] = "files.json"
    """Its name in the folder."""
    run: str
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]


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
