"""The model card of a checkpoint: its README.md, what it is, what it costs and how it is opened."""

import re
from typing import Any

from rankwise.files.resources import resource
from rankwise.records.made import BuildRecord, RefineRecord
from rankwise.records.measured import Scores

TEMPLATE = resource(__file__, "model_card.md.j2")


def render_card(
    record: BuildRecord,
    parameters: int,
    *,
    refined: RefineRecord | None = None,
    scores: list[Scores] | None = None,
) -> str:
    """Return the card of a checkpoint with so many ``parameters``.

    With ``scores``, those of the dense model and of the run, it has the table of what was measured;
    before that was done, what the check of the build found.
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
            code=_code,
        )
    )


def _code(text: str) -> str:
    """Return a word of others as Markdown's code on one line, whatever it holds: nothing in it is markup."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"
