"""The JSON artifacts, typed: what a stage decided or measured, and from what.

Every record names its schema and holds its own digest; a reader refuses another schema, and a record that
was changed after it was written. Records hold no times and no machine's
names, except `SpeedRecord`, which is nothing else.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rankwise.errors import RankwiseError
from rankwise.family import Family
from rankwise.files import read_json, repair, sealed, unsealed, write_json
from rankwise.pairs import Pair
from rankwise.target import KINDS, Target, the_one


class Record(BaseModel):
    """A JSON artifact with a schema name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    schema_name: ClassVar[str]

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(path, sealed({"schema": self.schema_name, **self.model_dump(mode="json")}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record; raises RankwiseError naming the file if it is another kind or not as written."""
        value = read_json(path)
        found = value.get("schema") if isinstance(value, dict) else None
        if found != cls.schema_name:
            raise RankwiseError(
                f"{path}: expected schema {cls.schema_name}, found {found}; {repair(path)}"
            )
        value = unsealed(path, value)
        del value["schema"]
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RankwiseError(f"{path}: {where}: {first['msg']}; {repair(path)}") from error


class Asked(BaseModel):
    """What a run was asked to come to: one of the three, the others null; what was reached stands beside it."""

    keep_asked: float | None = None
    total_params_asked: int | None = None
    checkpoint_bytes_asked: int | None = None

    @property
    def asked(self) -> Target:
        """The one that was asked for."""
        return the_one(dict(self), "_asked")


def asked_as(target: Target) -> dict[str, Any]:
    """Return a target as fields of `Asked`."""
    return {f"{kind}_asked": target.value if kind == target.kind else None for kind in KINDS}


class FileHash(BaseModel):
    """One file that something consists of."""

    path: str
    """Relative to the source's folder, or absolute for a local file outside one."""
    sha256: str
    bytes: int = Field(ge=0)


class ModelManifest(Record):
    """The dense model: where it is and exactly which bytes it is."""

    schema_name: ClassVar[str] = "rankwise/model@2"
    source: str
    revision: str | None
    dtype: str
    architecture: str
    family: Family
    """Which linears a decoder block has, as the stage prepare found it for this architecture."""
    layers: int
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]


class CorpusManifest(BaseModel):
    """One text: where it is, exactly which bytes, and how to read it."""

    source: str
    revision: str | None
    file: str | None
    field: str
    characters: int | None
    sha256: str
    bytes: int


class CorporaManifest(Record):
    """All texts by name."""

    schema_name: ClassVar[str] = "rankwise/corpora@1"
    corpora: dict[str, CorpusManifest]


class TasksManifest(Record):
    """The zero-shot task files; ``source`` null means that there are none."""

    schema_name: ClassVar[str] = "rankwise/tasks@2"
    source: str | None
    files: list[FileHash]
    """In the folder of ``source``: task files, and the items that lie beside them."""
    data: str | None = None
    """Folder of the items; null: beside the task files."""
    data_files: list[FileHash] = []
    """In the folder of ``data``."""


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
    """How one training went: of one decoder block, or of the whole model."""

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


class TextScore(BaseModel):
    """What a model makes of one text."""

    perplexity: float
    """Token-level, over the windows of the text [-]."""
    loss: float
    """Mean negative log-likelihood [nats/token]."""
    tokens: int
    """Predicted tokens counted in ``perplexity`` [tokens]."""
    windows: int
    window_length: int
    kl: float | None = None
    """KL(dense ‖ run), mean over tokens; null where it was not asked for [nats/token]."""
    agreement: float | None = None
    """Share of tokens whose likeliest successor is the dense model's; null likewise [-]."""


class TaskScore(BaseModel):
    """One zero-shot task."""

    data: str = ""
    """File name of its items: which set, which split."""
    acc: float
    acc_stderr: float
    acc_norm: float | None = None
    acc_norm_stderr: float | None = None
    items: int
    chance: float
    """Accuracy of guessing: mean of 1 / number of choices [-]."""


class Scores(Asked, Record):
    """What one run is worth: the deterministic measures."""

    schema_name: ClassVar[str] = "rankwise/scores@3"
    run: str
    keep_reached: float
    perplexity: float
    """Token-level, over the windows of the test text [-]."""
    loss: float
    """Mean negative log-likelihood [nats/token]."""
    tokens: int
    """Predicted tokens counted in ``perplexity`` [tokens]."""
    windows: int
    window_length: int
    kl: float | None = None
    agreement: float | None = None
    further: dict[str, TextScore] = {}
    """The same of further texts, by name."""
    zero_shot: dict[str, TaskScore]
    zero_shot_average: float | None
    """Mean over tasks of acc [-]; null without tasks."""
    parameters: int
    checkpoint_bytes: int
    """Bytes of the weight files [bytes]."""
    versions: dict[str, str]
    """Libraries that the numbers depend on."""
    parameters_section: dict[str, Any]
    """Section ``evaluate``, as used."""


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


class SummaryRow(Asked):
    """One row of the printed table."""

    run: str
    keep_reached: float
    perplexity: float
    zero_shot_average: float | None
    parameters: int
    checkpoint_bytes: int
    tokens_per_second: float
    against_dense: Pair | None = None
    """Null for the dense model itself."""


class Summary(Record):
    """The table of the study, the dense model first."""

    schema_name: ClassVar[str] = "rankwise/summary@3"
    title: str
    confidence: float
    """Of the intervals [-]."""
    rows: list[SummaryRow]
    gaps: dict[str, str] = {}
    """Runs that have no row, each with a sentence that says why."""


Dtype = Literal["float32", "bfloat16", "float16"]
