"""Types of the rows and suggestions of a search, validated when a job reads them from a file.

The file that a stopped search resumes from is `rankwise.allocate.problem.Trials`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from rankwise.errors import RankwiseError
from rankwise.files.checksummed import read_checksummed_lines, repair_hint

Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Suggestion(BaseModel):
    """The point that one trial of a search scores."""

    model_config = ConfigDict(strict=True)

    trial: Index
    shares: dict[str, Positive] = Field(default_factory=dict)
    """Type and depth group → share of the break-even rank, of the space ``shares`` [-]."""
    losses: dict[str, Positive] = Field(default_factory=dict)
    """Type and depth group → factor on the predicted losses, of the space ``losses`` [-]."""
    sequences: Annotated[list[Index], Field(min_length=1)] | None = None
    """Sequences of the search text to score on; None = all."""


class TrialRow(Suggestion):
    """The result of one trial; methods may add their own keys."""

    status: Literal["ok", "failed"]
    objective: FiniteFloat | None
    """None: the trial failed, or cannot be the search's result."""
    perplexity: Positive | None = None
    kl: FiniteFloat | None = None
    """Mean KL(compressed ‖ dense) per token [nats]."""
    keep_reached: FiniteFloat | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _check_score(self) -> Self:
        if self.status == "ok" and self.perplexity is None:
            raise ValueError("a trial that is ok has a perplexity")
        if self.status == "failed" and self.objective is not None:
            raise ValueError("a trial that failed has no objective")
        return self


def read_suggestions(path: Path) -> list[dict[str, Any]]:
    """Return the suggestions of a round; raises RankwiseError with file and row of an invalid one."""
    return validate_rows(path, read_checksummed_lines(path), Suggestion)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of trials, empty without a search; raises RankwiseError with file and row of an invalid one."""
    return validate_rows(path, read_checksummed_lines(path), TrialRow)


def validate_rows(
    path: Path, rows: list[dict[str, Any]], kind: type[Suggestion]
) -> list[dict[str, Any]]:
    """Return ``rows`` unchanged; raises RankwiseError with file and row of one that is not a valid ``kind``."""
    for number, row in enumerate(rows, 1):
        try:
            kind.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([f"row {number}", *map(str, first["loc"])])
            raise RankwiseError(
                f"{path}, {where[:200]}: {first['msg']}; {repair_hint(path)}"
            ) from error
    return rows
