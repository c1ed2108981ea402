"""Section prepare: the model, the texts and the tasks that a study starts from."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from rankwise.params.section import Count, Section


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
