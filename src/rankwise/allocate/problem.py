"""What an allocator is given: the matrices, what truncating them costs, and a way to score ranks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankwise import budget
from rankwise.budget import Matrix, Ranks
from rankwise.errors import RankwiseError
from rankwise.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["Candidate", "Problem", "Ranks", "TrialScore", "Trials"]


@dataclass(frozen=True)
class Candidate:
    """One linear that an allocator may truncate."""

    layer: int
    kind: str
    """q, k, v, o, gate, up, down."""
    spectrum: Tensor
    """[min(out, in)] descending; its squared tail is the decomposer's measure of loss."""


@dataclass(frozen=True)
class TrialScore:
    """What the search text says of some ranks; not finite where the model broke."""

    perplexity: float
    kl: float
    """Mean KL(compressed ‖ dense) per token [nats]."""


class Trials:
    """Rows of a search, kept in a JSON-lines file so that a search goes on where it was stopped.

    The first line is the fingerprint of everything that a row depends on, their number excepted;
    rows under another fingerprint are not taken up. At most ``limit`` rows are.
    """

    def __init__(
        self, path: Path | None = None, fingerprint: str = "", limit: int | None = None
    ) -> None:
        self.path = path
        self.head = json.dumps({"fingerprint": fingerprint})
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            if lines and lines[0] == self.head:
                self.rows = [json.loads(line) for line in lines[1:]][:limit]

    def add(self, row: dict[str, Any]) -> None:
        """Append one row, and write them all, whole."""
        self.rows.append(row)
        if self.path is not None:
            write_text(self.path, f"{self.head}\n{self.text()}")

    def text(self) -> str:
        """Return the rows as JSON lines."""
        return "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.rows)

    def best(self) -> dict[str, Any] | None:
        """Return the row of least objective, the first of equals; None if no trial was finite."""
        rows = [row for row in self.rows if row["objective"] is not None]
        return min(rows, key=lambda row: (row["objective"], row["trial"]), default=None)

    def summary(self) -> dict[str, float | int | None]:
        """Return what a record says of the search; empty without one."""
        if not self.rows:
            return {}
        best = self.best() or {}
        counts = {
            "trials": len(self.rows),
            "failed": sum(row["status"] != "ok" for row in self.rows),
        }
        return counts | {
            f"best_{key}": best.get(key) for key in ("trial", "objective", "perplexity", "kl")
        }


@dataclass(frozen=True)
class Problem:
    """One allocation problem."""

    matrices: dict[str, Matrix]
    """Every linear of the decoder blocks, those that can only stay dense included."""
    candidates: dict[str, Candidate]
    """The linears that have factors."""
    layers: int
    score: Callable[[Ranks], TrialScore] | None = None
    """Costs one forward pass over the search text; given to allocators that ask for it."""
    trials: Trials | None = None

    @property
    def names(self) -> list[str]:
        """Linears that may be truncated."""
        return list(self.candidates)

    def spend(self, keep: float, shares: dict[str, float], multiple: int, floor: float) -> Ranks:
        """Map relative shares onto the budget; see `rankwise.budget.spend`."""
        return budget.spend(self.matrices, keep, shares, multiple, floor)

    def scored(self, ranks: Ranks) -> TrialScore:
        """Score ranks on the search text."""
        if self.score is None:
            raise RankwiseError(
                "this allocator scores candidates, but the problem has no search text"
            )
        return self.score(ranks)


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: ``None`` for what is not finite."""
    return value if math.isfinite(value) else None
