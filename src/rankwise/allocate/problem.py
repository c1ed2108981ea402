"""The input of an allocator: matrices, their losses at each choice, the budget, scoring functions, and
`Trials`, the file that a stopped search resumes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rankwise.allocate.trials import TrialRow, validate_rows
from rankwise.budget.costs import (
    Breakpoints,
    Choice,
    Choices,
    Kept,
    Matrix,
    by_loss,
    by_measure,
    by_share,
)
from rankwise.budget.spending import Budget, spend
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_text
from rankwise.files.checksummed import read_checksummed_lines, to_checksummed_lines

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from rankwise.allocate.base import Allocator
    from rankwise.model.family import Linear

__all__ = ["Candidate", "Choices", "Masks", "Problem", "Scorer", "TrialScore", "Trials"]

Masks = dict[str, tuple["NDArray[np.bool_]", "NDArray[np.bool_]"]]
"""Linear → masks of the components [max_rank] and nonzeros [n] that it keeps."""


@dataclass(frozen=True)
class Candidate:
    """One linear that an allocator may truncate."""

    layer: int
    kind: str
    """Type of linear, as its family names it: q, k, v, o, gate, up, down, …"""
    spectrum: Tensor
    """[min(out, in)] descending; its squared tail is the decomposer's measure of loss. Empty: it has none."""
    magnitudes: Tensor | None = None
    """[nonzeros] descending, of the sparse part; their squared tail adds to the loss, in the same measure."""
    ladder: tuple[Kept, ...] = ()
    """Schedule of (rank, nonzeros) of a method with a sparse part; empty: every rank is a choice."""
    weight_errors: Tensor | None = None
    """[1 + choices]: ‖W − Ŵ‖_F² of the weights themselves for Ŵ = 0, then for every choice."""
    sublayer: str = ""
    """Sublayer that it is in: attention, mlp."""

    def __post_init__(self) -> None:
        """Raise RankwiseError for sizes whose squares are not finite, because no method can compare them."""
        for sizes in (self.spectrum, self.magnitudes):
            with np.errstate(over="ignore", invalid="ignore"):
                if sizes is not None and not math.isfinite(_tail_sums(sizes)[0]):
                    raise RankwiseError(
                        f"layer {self.layer}, {self.kind}: the spectrum holds NaN or numbers too large to be squared; "
                        "look at the statistics and decompose again"
                    )

    @cached_property
    def _tails(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        magnitudes = self.magnitudes if self.magnitudes is not None else np.zeros(0)
        return _tail_sums(self.spectrum), _tail_sums(magnitudes)

    def loss(self, choice: Choice) -> float:
        """Return the loss of a choice in the decomposer's own measure; 0 for dense."""
        if choice is None:
            return 0.0
        ranks, nonzeros = self._tails
        return float(ranks[choice.rank] + nonzeros[choice.entries])

    def energy(self, choice: Choice) -> float:
        """Return the share of the total energy (squared spectrum and magnitudes) that a choice keeps [-]."""
        total = self.loss(Kept(0))
        return 1.0 - self.loss(choice) / total if total else 1.0

    def weight_error(self, choice: Choice) -> float:
        """Return ‖W − Ŵ‖_F² / ‖W‖_F² of a rank, or of a choice of the schedule [-]."""
        if choice is None:
            return 0.0
        if self.weight_errors is None:
            raise RankwiseError(
                f"layer {self.layer}, {self.kind}: the factors say nothing of the error of the weight itself; decompose again"
            )
        total = float(self.weight_errors[0])
        index = 1 + self.ladder.index(choice) if self.ladder else choice.rank
        return float(self.weight_errors[index]) / total if total else 0.0


@dataclass(frozen=True)
class TrialScore:
    """The score of an allocation on the search text; not finite where the model is broken."""

    perplexity: float
    kl: float
    """Mean KL(compressed ‖ dense) per token [nats]."""
    losses: tuple[float, ...] = ()
    """[sequences]: mean negative log-likelihood per token of each sequence [nats]."""


class Scorer(Protocol):
    """Function that scores choices on the search text, or on some of its sequences, in one forward pass."""

    def __call__(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Return perplexity, KL and the loss of each sequence."""


class Trials:
    """Rows of a search, saved in a JSON-lines file so that a stopped search can resume.

    The first line is the fingerprint of everything that a row depends on, except the number of trials.
    Rows under another fingerprint are not loaded, and at most ``limit`` rows are.
    """

    def __init__(
        self, path: Path | None = None, fingerprint: str = "", limit: int | None = None
    ) -> None:
        self.path = path
        self.head = {"fingerprint": fingerprint}
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            head, *rows = read_checksummed_lines(path) or [{}]
            if head == self.head:
                self.rows = validate_rows(path, rows, TrialRow)[:limit]

    def add(self, row: dict[str, Any]) -> None:
        """Append one row, and write the file with all rows atomically."""
        self.rows.append(row)
        if self.path is not None:
            write_text(self.path, to_checksummed_lines([self.head, *self.rows]))

    def text(self) -> str:
        """Return the rows as JSON lines, with their digest."""
        return to_checksummed_lines(self.rows)

    def best(self) -> dict[str, Any] | None:
        """Return the first row of least objective; None if no trial has a finite one."""
        rows = [row for row in self.rows if row["objective"] is not None]
        return min(rows, key=lambda row: (row["objective"], row["trial"]), default=None)

    def summary(self) -> dict[str, float | int | None]:
        """Return the search's fields of an allocation record; empty without a search."""
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

    budget: Budget
    """The budget, with every linear of the decoder layers."""
    candidates: dict[str, Candidate]
    """The linears that have factors."""
    layers: int
    score: Scorer | None = None
    """Scores choices by one forward pass over the search text; set where `Allocator.scores`."""
    trials: Trials | None = None
    similarity: dict[tuple[int, str], float] = field(default_factory=dict)
    """(layer, sublayer) → mean cosine between the hidden states before and after it [-]."""
    score_masks: Callable[[Masks], TrialScore] | None = None
    """Like ``score``, for any subset of components and nonzeros."""
    linears: dict[str, Linear] = field(default_factory=dict)
    """Layer and type of every linear, for the allocation record."""

    @property
    def matrices(self) -> dict[str, Matrix]:
        """Every linear of the decoder layers, including those that can only stay dense."""
        return self.budget.matrices

    @property
    def names(self) -> list[str]:
        """Names of the linears that may be truncated."""
        return list(self.candidates)

    def spend(self, moments: dict[str, Breakpoints], limits: Allocator) -> Choices:
        """Spend the budget within the allocator's multiple and floor; see `rankwise.budget.spending.spend`."""
        return spend(self.budget, moments, limits.multiple, limits.floor)

    def by_shares(self, shares: dict[str, float], limits: Allocator) -> Choices:
        """Return the choices that map relative shares of the break-even ranks onto the budget."""
        moments = {name: by_share(share) for name, share in shares.items()}
        return self.spend(moments, limits)

    def minimise(
        self, losses: Mapping[str, Callable[[Choice], float]], limits: Allocator
    ) -> Choices:
        """Return the choices of least total loss, exact on the convex hull (methods.md §7)."""
        moments = {name: by_loss(loss) for name, loss in losses.items()}
        return self.spend(moments, limits)

    def at_one_level(
        self, measures: Mapping[str, Callable[[Choice], float]], limits: Allocator
    ) -> Choices:
        """Return the choices that bring every linear to one level of a measure that rises with rank."""
        moments = {name: by_measure(measure) for name, measure in measures.items()}
        return self.spend(moments, limits)

    def scored(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Return the score of choices on the search text, or on those of its ``sequences`` (indices)."""
        if self.score is None:
            raise RankwiseError(
                "this allocator scores candidates, but the problem has no search text"
            )
        return self.score(choices, sequences)

    def scored_masks(self, masks: Masks) -> TrialScore:
        """Return the score of any components and nonzeros on the search text; linears without masks stay dense."""
        if self.score_masks is None:
            raise RankwiseError(
                "this allocator scores single components, but the problem has no search text"
            )
        return self.score_masks(masks)


def _tail_sums(values: ArrayLike) -> NDArray[np.float64]:
    """Return the sum of squares from each index on, [n + 1]."""
    squares = np.square(np.asarray(values, dtype=np.float64))
    return np.append(np.cumsum(squares[::-1])[::-1], 0.0)


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: ``None`` where ``value`` is not finite."""
    return value if math.isfinite(value) else None
