"""The sections of params.yaml, typed: every key with its default, unit and sentence.

A stage never reads params.yaml. It reads ``data/params/<section>.json`` with `read_section`: one
section, defaults filled in. How the whole file is read and cut is in `rankwise.validation.params`.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.runs import AnyRun, CompressedRun, RefinedRun, Run, expand_steps
from rankwise.params.section import Count, Section, Seed

ROLES = ("calibration", "search", "test")
FURTHER = "test-"
"""What the roles of further test texts begin with."""
NAME = re.compile(r"[A-Za-z0-9](-?[A-Za-z0-9_])*")
"""Of runs and sections. No two hyphens in a row: they set off the steps on the way to a run (`rankwise.params.runs.built`)."""


class Source(Section):
    """Where something comes from: this package ('embedded…'), a local path, or the Hub."""

    source: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    """Commit of a Hub repository, 40 hex digits; null means that ``source`` is a local path."""

    @field_validator("revision")
    @classmethod
    def _is_commit(cls, revision: str | None) -> str | None:
        if revision is not None and not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ValueError(
                "a Hub revision is a commit: 40 lower-case hex digits, not a branch or tag"
            )
        return revision


class Model(Source):
    """The dense model."""

    layers: Count
    """Decoder layers [-]; stands here so that the job graph is known before the model is read."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision the model is loaded and run in."""


class Corpus(Source):
    """One text: a file (plain text, JSON lines or parquet), local or in a Hub data set."""

    file: str | None = None
    """File inside the Hub data set's repository."""
    field: str = "text"
    """Column that holds the text, for JSON lines and parquet."""
    characters: Count | None = None
    """Use only the first so many [characters]; null = all."""


class Tasks(Section):
    """The folder of lm-eval task files (YAML + JSONL)."""

    source: str | None = "embedded"
    """'embedded', 'papers' (the seven of the papers), a local folder, or null for no zero-shot tasks."""
    data: str | None = None
    """Folder of the items (JSONL); null: beside the task files. 'papers' needs one."""


class Prepare(Section):
    """Section ``prepare``: what goes in, at pinned revisions."""

    model: Model
    corpora: Annotated[dict[str, Corpus], Field(min_length=1)]
    tasks: Tasks = Tasks()


class Sample(Section):
    """Windows of tokens drawn from one corpus for one role."""

    corpus: str
    sequences: Count | None = None
    """How many windows; null = all there are, in order (test text only)."""
    length: Annotated[int, Field(ge=2)] = 128
    """Window length [tokens]."""
    seed: Seed = 0


class SampleRoles(Section):
    """Section ``sample``: the three roles, and further texts to test on."""

    calibration: Sample
    search: Sample
    test: Sample
    further: dict[str, Sample] = Field(default_factory=dict)
    """Name → windows of another test text; measured beside the first, steering nothing."""

    def by_role(self) -> dict[str, Sample]:
        """Return every set of windows by its role; further texts have the roles ``test-<name>``."""
        further = {f"{FURTHER}{name}": sample for name, sample in self.further.items()}
        return {role: getattr(self, role) for role in ROLES} | further


class CovarianceParams(Section):
    """Section ``covariance``."""

    pools: Count = 8
    """Groups of calibration sequences (Bolaco: 32 groups of 32); divides their number."""
    batch: Count = 16
    """Sequences in one forward pass."""
    moments: Literal["channels", "smaller", "inputs"] | None = None
    """Which second moments are gathered (`rankwise.methods.required_statistics`); null = those that the methods of section decompose need."""
    shards: Count = 1
    """Jobs that the pools are spread over, any number gives the same bytes; divides ``pools``."""
    streaming: bool = False
    """Whether the dense model is read a layer group (`compute.layers_per_job`) at a time, never whole."""

    @property
    def gathered(self) -> RequiredStatistics:
        """What is gathered; where nothing says what is needed, all there is."""
        return RequiredStatistics[(self.moments or "inputs").upper()]


class FisherParams(Section):
    """Section ``fisher``: the backward pass, for decomposers that ask for it."""

    batch: Count = 16
    """Sequences in one forward and backward pass."""
    labels: Literal["text", "model"] = "text"
    """Whose next tokens the loss is taken of: the text's, or drawn from the model's own prediction."""
    seed: Seed = 0
    """For labels drawn from the model."""
    streaming: bool = False
    """Whether the dense model is read a layer group (`compute.layers_per_job`) at a time, never whole."""


class Build(Section):
    """Section ``build``."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision the checkpoint is stored in; null = that of the model."""
    check_sequences: Count = 8
    """Calibration sequences on which the checkpoint is compared with the factors it was made of."""
    worse_than_unigram: Literal["refuse", "record"] = "refuse"
    """What to do with a model that predicts them worse than token frequencies do."""


class Evaluate(Section):
    """Section ``evaluate``."""

    batch: Count = 32
    """Sequences in one forward pass."""
    tasks: list[str] | None = None
    """Names of the zero-shot tasks; null = every task of ``prepare.tasks``."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Use only the first so many items of each task; null = all."""
    divergence: bool = False
    """KL divergence from the dense model and agreement with its likeliest token, on every text; holds both models."""
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Continued greedily by every model, side by side in the report; none = off."""
    new_tokens: Count = 32
    """Length of the continuations [tokens]."""


class Speed(Section):
    """Section ``speed``: prefill and decoding, the run beside the dense model, both in memory."""

    batches: list[Count] = Field(default=[1, 8])
    """Sequences at once; the table shows prefill at the largest. [] = no run is timed."""
    length: Count = 128
    """Prompt length [tokens]."""
    new_tokens: Count = 8
    """Tokens decoded behind the prompt."""
    repeats: Annotated[int, Field(ge=3)] = 5
    """Timed repeats, interleaved between the two models; the median is reported."""


class Report(Section):
    """Section ``report``."""

    title: str = "rankwise study"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the paired bootstrap intervals [-]."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples of each interval."""
    seed: Seed = 0
    """Of the resampling."""


class Track(Section):
    """Section ``track``."""

    experiment: Annotated[str, Field(min_length=1)] = "rankwise"


class Compute(Section):
    """Section ``compute``: where arithmetic happens; part of what fixes the bytes."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Count = 1
    """Threads of one job on the CPU; the engine runs several jobs beside each other."""
    layers_per_job: Count = 2
    """Decoder layers in one file of statistics, and in one decomposition job."""

    def layer_groups(self, layers: int) -> list[list[int]]:
        """Return the layers of each job, consecutive ones."""
        step = self.layers_per_job
        return [list(range(layers))[i : i + step] for i in range(0, layers, step)]


class Params(Section):
    """The whole of params.yaml."""

    prepare: Prepare
    sample: SampleRoles
    covariance: CovarianceParams = CovarianceParams()
    fisher: FisherParams = FisherParams()
    decompose: Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
    allocate: Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
    refine: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    runs: Annotated[dict[str, AnyRun], Field(min_length=1)]
    build: Build = Build()
    evaluate: Evaluate = Evaluate()
    speed: Speed = Speed()
    report: Report = Report()
    track: Track = Track()
    compute: Compute = Compute()

    def method(self, kind: str, name: str) -> str:
        """Return the method of a section of decompose, allocate or refine: its own name, or its key ``method``."""
        given = getattr(self, kind)[name] or {}
        return str(given.get("method", name))

    def compressions(self) -> dict[str, CompressedRun]:
        """Return the runs that factor the dense model."""
        return {name: run for name, run in self.runs.items() if isinstance(run, CompressedRun)}

    def refinements(self) -> dict[str, RefinedRun]:
        """Return the runs that refine another run."""
        return {name: run for name, run in self.runs.items() if isinstance(run, RefinedRun)}

    def built(self) -> dict[str, Run]:
        """Return every compression to be made, the steps on the way included; see `rankwise.params.runs.built`."""
        return expand_steps(self.compressions())

    def compressed(self, name: str) -> str:
        """Return the compression that a run is or that it refines, through refinements of refinements."""
        run = self.runs[name]
        return self.compressed(run.of) if isinstance(run, RefinedRun) else name
