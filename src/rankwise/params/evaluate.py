"""Section evaluate: perplexity, zero-shot tasks, divergence and continuations."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Count, Section


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
