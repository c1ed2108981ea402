"""The model card of a checkpoint: its README.md with method, size, scores and how to load it."""

import re
from typing import Any

from rankwise.files.resources import resource
from rankwise.records.build import BuildRecord
from rankwise.records.refine import RefineRecord
from rankwise.records.scores import Scores

TEMPLATE = resource(__file__, "model_card.md.j2")


def render_card(
    record: BuildRecord,
    parameters: int,
    *,
    refined: RefineRecord | None = None,
    scores: list[Scores] | None = None,
) -> str:
    """Return the card of a checkpoint that has ``parameters`` parameters.

    With ``scores``, those of the dense model and of the run, the card has a table of the measurements.
    Before the evaluation it reports the losses of the build's check instead.
    """
    from huggingface_hub import ModelCard, ModelCardData

    on_hub = record.model.revision is not None
    data: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rankwise", "low-rank", "compression"],
        "base_model": record.model.source if on_hub else None,
    }
    return str(
        ModelCard.from_template(
            ModelCardData(**data),
            template_path=str(TEMPLATE),
            record=record,
            parameters=parameters,
            refined=refined,
            scores=scores or [],
            tasks=sorted(scores[0].zero_shot) if scores else [],
            code=_escape_code,
        )
    )


def _escape_code(text: str) -> str:
    """Return text from outside as Markdown code on one line, so that nothing in it is markup."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"
