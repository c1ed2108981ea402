"""The scores of one run: perplexity and zero-shot accuracy."""

from typing import Any, ClassVar

from pydantic import BaseModel, Field

from rankwise.records.asked import Asked
from rankwise.records.base import Record


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
