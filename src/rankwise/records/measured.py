"""What was measured: scores, speed, the table of the study."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from rankwise.records.base import Asked, Record
from rankwise.records.pairs import Pair


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
    further: dict[str, TextScore] = Field(default_factory=dict)
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
    """One row of the printed table, but for its speed, which is measured and not computed."""

    run: str
    keep_reached: float
    perplexity: float
    zero_shot_average: float | None
    parameters: int
    checkpoint_bytes: int
    against_dense: Pair | None = None
    """Null for the dense model itself."""


class Summary(Record):
    """The table of the study, the dense model first; it holds no time, so that equal scores give equal bytes."""

    schema_name: ClassVar[str] = "rankwise/summary@4"
    title: str
    confidence: float
    """Of the intervals [-]."""
    rows: list[SummaryRow]
    gaps: dict[str, str] = Field(default_factory=dict)
    """Runs that have no row, each with a sentence that says why."""


Dtype = Literal["float32", "bfloat16", "float16"]
