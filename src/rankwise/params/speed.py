"""Section speed: prefill and decoding next to the dense model."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Count, Section


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
