"""What scores are the means of: one text window by window, one task item by item."""

from typing import ClassVar

from pydantic import BaseModel, Field

from rankwise.records.base import Record


class TextItems(BaseModel):
    """One text, window by window."""

    sha256: str
    """Of the windows' tokens: runs pair where it is the same."""
    losses: list[float]
    """[windows]: mean negative log-likelihood of each window [nats/token]."""


class TaskItems(BaseModel):
    """One zero-shot task, item by item."""

    sha256: str
    """Of the prompts, choices and answers: runs pair where it is the same."""
    acc: list[bool]
    """[items]: whether the likeliest choice is the right one."""
    acc_norm: list[bool] | None = None
    """[items]: the same with log-likelihoods divided by the choices' lengths; null where the task does not ask it."""


class Continuation(BaseModel):
    """What a model goes on with."""

    prompt: str
    text: str


class Items(Record):
    """What the scores of one run are the means of, so that runs compare pair by pair."""

    schema_name: ClassVar[str] = "rankwise/items@1"
    run: str
    texts: dict[str, TextItems]
    """By role: ``test``, ``test-<name>``."""
    tasks: dict[str, TaskItems]
    continuations: list[Continuation] = Field(default_factory=list)
    """Greedy, of the prompts that were asked for."""
