"""The sections of params.yaml as types: every key with its default, unit and description.

A stage never reads params.yaml. It reads ``data/params/<section>.json`` with `read_section`: one
section, defaults filled in. `rankwise.validation.params` reads the complete file and splits it.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.runs import AnyRun, CompressedRun, RefinedRun, Run, expand_steps
from rankwise.params.section import Count, Section, Seed

ROLES = ("calibration", "search", "test")
FURTHER = "test-"
"""Prefix of the roles of extra test texts."""
NAME = re.compile(r"[A-Za-z0-9](-?[A-Za-z0-9_])*")
"""Pattern of names of runs and sections. Two hyphens in a row are reserved for the steps of a run (`rankwise.params.runs.expand_steps`)."""


class Source(Section):
    """Source of a model or text: this package ('embedded…'), a local path, or the Hub."""

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
    """Decoder layers [-]; set here so that the job graph is known before the model is read."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision in which the model is loaded and run."""


class Corpus(Source):
    """One text: a file (plain text, JSON lines or parquet), local or in a Hub data set."""

    file: str | None = None
    """File inside the Hub data set's repository."""
    field: str = "text"
    """Column of the text, for JSON lines and parquet."""
    characters: Count | None = None
    """Length of the used beginning of the text [characters]; null = all."""


class Tasks(Section):
    """The folder of lm-eval task files (YAML + JSONL)."""

    source: str | None = "embedded"
    """'embedded', 'papers' (the seven of the papers), a local folder, or null for no zero-shot tasks."""
    data: str | None = None
    """Folder of the items (JSONL); null: next to the task files. 'papers' needs one."""


class Prepare(Section):
    """Section ``prepare``: model, texts and tasks, at pinned revisions."""

    model: Model
    corpora: Annotated[dict[str, Corpus], Field(min_length=1)]
    tasks: Tasks = Tasks()


class Sample(Section):
    """Windows of tokens drawn from one corpus for one role."""

    corpus: str
    sequences: Count | None = None
    """Number of windows; null = all windows, in order (test text only)."""
    length: Annotated[int, Field(ge=2)] = 128
    """Window length [tokens]."""
    seed: Seed = 0


class SampleRoles(Section):
    """Section ``sample``: the three roles, and extra test texts."""

    calibration: Sample
    search: Sample
    test: Sample
    further: dict[str, Sample] = Field(default_factory=dict)
    """Name → windows of an extra test text; measured like the first, and never used for a choice."""

    def by_role(self) -> dict[str, Sample]:
        """Return every set of windows by its role; extra test texts have the roles ``test-<name>``."""
        further = {f"{FURTHER}{name}": sample for name, sample in self.further.items()}
        return {role: getattr(self, role) for role in ROLES} | further


class CovarianceParams(Section):
    """Section ``covariance``."""

    pools: Count = 8
    """Groups of calibration sequences (Bolaco: 32 groups of 32); divides their number."""
    batch: Count = 16
    """Sequences in one forward pass."""
    moments: Literal["channels", "smaller", "inputs"] | None = None
    """Second moments to gather (`rankwise.methods.required_statistics`); null = those that the methods of section decompose need."""
    shards: Count = 1
    """Jobs that share the pools; any number gives the same bytes; divides ``pools``."""
    streaming: bool = False
    """Whether only one layer group (`compute.layers_per_job`) of the dense model is in memory at a time."""

    @property
    def gathered(self) -> RequiredStatistics:
        """Statistics to gather; all of them where ``moments`` is null."""
        return RequiredStatistics[(self.moments or "inputs").upper()]


class FisherParams(Section):
    """Section ``fisher``: the backward pass, for decomposers that need it."""

    batch: Count = 16
    """Sequences in one forward and backward pass."""
    labels: Literal["text", "model"] = "text"
    """Labels of the loss: the next tokens of the text, or tokens sampled from the model's prediction."""
    seed: Seed = 0
    """Seed for labels sampled from the model."""
    streaming: bool = False
    """Whether only one layer group (`compute.layers_per_job`) of the dense model is in memory at a time."""


class Build(Section):
    """Section ``build``."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the checkpoint; null = that of the model."""
    check_sequences: Count = 8
    """Calibration sequences on which the checkpoint is compared with its factors."""
    worse_than_unigram: Literal["refuse", "record"] = "refuse"
    """Action for a model that predicts these sequences worse than token frequencies do."""


class Evaluate(Section):
    """Section ``evaluate``."""

    batch: Count = 32
    """Sequences in one forward pass."""
    tasks: list[str] | None = None
    """Names of the zero-shot tasks; null = every task of ``prepare.tasks``."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of items of each task, from the first; null = all."""
    divergence: bool = False
    """Whether to measure KL divergence from the dense model and top-1 agreement on every text; needs both models in memory."""
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Prompts that every model continues greedily, for comparison in the report; empty = off."""
    new_tokens: Count = 32
    """Length of the continuations [tokens]."""


class Speed(Section):
    """Section ``speed``: prefill and decoding of the run and the dense model, both in memory."""

    batches: list[Count] = Field(default=[1, 8])
    """Batch sizes [sequences]; the table shows prefill at the largest. [] = no run is timed."""
    length: Count = 128
    """Prompt length [tokens]."""
    new_tokens: Count = 8
    """Tokens decoded after the prompt."""
    repeats: Annotated[int, Field(ge=3)] = 5
    """Timed repeats, interleaved between the two models; the median is reported."""


class Report(Section):
    """Section ``report``."""

    title: str = "rankwise study"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the paired bootstrap intervals [-]."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples of each interval."""
    seed: Seed = 0
    """Seed of the bootstrap."""


class Track(Section):
    """Section ``track``."""

    experiment: Annotated[str, Field(min_length=1)] = "rankwise"


class Compute(Section):
    """Section ``compute``: device and threads; the bytes of results depend on them."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Count = 1
    """Threads of one job on the CPU; several jobs run at the same time."""
    layers_per_job: Count = 2
    """Decoder layers in one file of statistics, and in one decomposition job."""

    def layer_groups(self, layers: int) -> list[list[int]]:
        """Return the layer group of each job: consecutive layers."""
        step = self.layers_per_job
        return [list(range(layers))[i : i + step] for i in range(0, layers, step)]


class Params(Section):
    """All sections of params.yaml."""

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
        section = getattr(self, kind)[name] or {}
        return str(section.get("method", name))

    def compressions(self) -> dict[str, CompressedRun]:
        """Return the runs that factor the dense model."""
        return {name: run for name, run in self.runs.items() if isinstance(run, CompressedRun)}

    def refinements(self) -> dict[str, RefinedRun]:
        """Return the runs that refine another run."""
        return {name: run for name, run in self.runs.items() if isinstance(run, RefinedRun)}

    def built(self) -> dict[str, Run]:
        """Return every compression, intermediate steps included; see `rankwise.params.runs.expand_steps`."""
        return expand_steps(self.compressions())

    def compressed(self, name: str) -> str:
        """Return the compression of a run: the run itself, or the one that it refines, directly or not."""
        run = self.runs[name]
        return self.compressed(run.of) if isinstance(run, RefinedRun) else name
