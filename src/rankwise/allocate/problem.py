"""What an allocator is given: the matrices, what truncating them costs, and a way to score ranks."""

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
"""Linear → which components [max_rank] and which sparse entries [n] remain of it."""


@dataclass(frozen=True)
class Candidate:
    """One linear that an allocator may truncate."""

    layer: int
    kind: str
    """Its role in a block, as its family names it: q, k, v, o, gate, up, down, …"""
    spectrum: Tensor
    """[min(out, in)] descending; its squared tail is the decomposer's measure of loss. Empty: it has none."""
    magnitudes: Tensor | None = None
    """[entries] descending, of the sparse part: their squared tail is lost besides, in the same measure."""
    ladder: tuple[Kept, ...] = ()
    """Choices of a method with a sparse part; empty: every rank is one."""
    weight_errors: Tensor | None = None
    """[1 + choices]: ‖W − Ŵ‖_F² of the weights themselves for Ŵ = 0, then for every choice."""
    sublayer: str = ""
    """Part of the block that it lies in: attention, mlp."""

    def __post_init__(self) -> None:
        """Refuse sizes whose squares are no numbers, which every method would compare in vain."""
        for sizes in (self.spectrum, self.magnitudes):
            with np.errstate(over="ignore", invalid="ignore"):
                if sizes is not None and not math.isfinite(_tail_sums(sizes)[0]):
                    raise RankwiseError(
                        f"layer {self.layer}, {self.kind}: the spectrum holds NaN or numbers too large to be squared; "
                        "look at the statistics and decompose again"
                    )

    @cached_property
    def _tails(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        entries = self.magnitudes if self.magnitudes is not None else np.zeros(0)
        return _tail_sums(self.spectrum), _tail_sums(entries)

    def loss(self, choice: Choice) -> float:
        """Return what a choice loses in the method's own measure; dense loses nothing."""
        if choice is None:
            return 0.0
        ranks, entries = self._tails
        return float(ranks[choice.rank] + entries[choice.entries])

    def energy(self, choice: Choice) -> float:
        """Return the share of the whole measure that a choice keeps [-]."""
        whole = self.loss(Kept(0))
        return 1.0 - self.loss(choice) / whole if whole else 1.0

    def weight_error(self, choice: Choice) -> float:
        """Return ‖W − Ŵ‖_F² / ‖W‖_F² of a rank, or of a choice on the ladder [-]."""
        if choice is None:
            return 0.0
        if self.weight_errors is None:
            raise RankwiseError(
                f"layer {self.layer}, {self.kind}: the factors say nothing of the error of the weight itself; decompose again"
            )
        whole = float(self.weight_errors[0])
        place = 1 + self.ladder.index(choice) if self.ladder else choice.rank
        return float(self.weight_errors[place]) / whole if whole else 0.0


@dataclass(frozen=True)
class TrialScore:
    """What the search text says of some ranks; not finite where the model broke."""

    perplexity: float
    kl: float
    """Mean KL(compressed ‖ dense) per token [nats]."""
    losses: tuple[float, ...] = ()
    """[sequences]: mean negative log-likelihood per token of each sequence [nats]."""


class Scorer(Protocol):
    """Scores choices on the search text, or on some of its sequences; one forward pass over them."""

    def __call__(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Return perplexity, KL and the loss of each sequence."""


class Trials:
    """Rows of a search, kept in a JSON-lines file so that a search goes on where it was stopped.

    The first line is the fingerprint of everything that a row depends on, their number excepted;
    rows under another fingerprint are not taken up. At most ``limit`` rows are.
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
        """Append one row, and write them all, whole."""
        self.rows.append(row)
        if self.path is not None:
            write_text(self.path, to_checksummed_lines([self.head, *self.rows]))

    def text(self) -> str:
        """Return the rows as JSON lines, with their digest."""
        return to_checksummed_lines(self.rows)

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

    budget: Budget
    """What all linears may cost, and every linear of the decoder layers as it sees it."""
    candidates: dict[str, Candidate]
    """The linears that have factors."""
    layers: int
    score: Scorer | None = None
    """Costs one forward pass over the search text; given to allocators that ask for it."""
    trials: Trials | None = None
    similarity: dict[tuple[int, str], float] = field(default_factory=dict)
    """(layer, sublayer) → mean cosine between the hidden state before it and behind it [-]."""
    score_masks: Callable[[Masks], TrialScore] | None = None
    """Like ``score``, for any subset of components and entries."""
    linears: dict[str, Linear] = field(default_factory=dict)
    """Layer and role of every linear, for the record of the answer."""

    @property
    def matrices(self) -> dict[str, Matrix]:
        """Every linear of the decoder layers, those that can only stay dense included."""
        return self.budget.matrices

    @property
    def names(self) -> list[str]:
        """Linears that may be truncated."""
        return list(self.candidates)

    def spend(self, moments: dict[str, Breakpoints], limits: Allocator) -> Choices:
        """Spend the budget within the allocator's multiple and floor; see `rankwise.budget.spending.spend`."""
        return spend(self.budget, moments, limits.multiple, limits.floor)

    def by_shares(self, shares: dict[str, float], limits: Allocator) -> Choices:
        """Map relative shares of the break-even ranks onto the budget."""
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
        """Bring every linear to one level of a measure that rises with rank."""
        moments = {name: by_measure(measure) for name, measure in measures.items()}
        return self.spend(moments, limits)

    def scored(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Score choices on the search text, or on the sequences of it with these indices."""
        if self.score is None:
            raise RankwiseError(
                "this allocator scores candidates, but the problem has no search text"
            )
        return self.score(choices, sequences)

    def scored_masks(self, masks: Masks) -> TrialScore:
        """Score any components and entries on the search text; linears without masks stay dense."""
        if self.score_masks is None:
            raise RankwiseError(
                "this allocator scores single components, but the problem has no search text"
            )
        return self.score_masks(masks)


def _tail_sums(values: ArrayLike) -> NDArray[np.float64]:
    """Return Σ of squares from each place on, [n + 1]."""
    squares = np.square(np.asarray(values, dtype=np.float64))
    return np.append(np.cumsum(squares[::-1])[::-1], 0.0)


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: ``None`` for what is not finite."""
    return value if math.isfinite(value) else None
