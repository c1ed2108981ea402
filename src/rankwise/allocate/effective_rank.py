"""D-Rank's allocation: ranks by effective rank inside each type, then a share of q's and k's ranks to v."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.allocate.problem import Choices, Problem

DONORS, RECEIVER = ("q", "k"), "v"


class EffectiveRank(Allocator):
    """Ranks by ``k ∝ sqrt(R / omega)`` inside each type, then a share of q's and k's goes to v (D-Rank).

    arXiv 2509.25622: ``R = exp(−Σ p log p)`` with ``p_i = σ_i² / Σ σ²`` of the whitened spectrum (that of
    the decomposer ``whitened_svd``; with another decomposer its own spectrum). omega is the number of
    parameters that one rank costs, out + in. This minimises ``Σ R/k`` under ``Σ omega·k``. Every type has
    the same budget relative to its size. Then ``beta`` of the ranks of q and of k is removed, and the v of
    all layers share their cost equally. Where v stays dense nothing moves.
    Our reading: one layer is one group (the paper joins neighbouring layers into one matrix). The result is
    mapped onto the budget, where the authors return what v cannot take to q and k.
    Cost: one sort of all rank steps.

    Use it to compare with D-Rank; it is better than `uniform` only on the embedded model at keep 0.8.
    """

    summary: ClassVar[str] = (
        "Ranks by ``k ∝ sqrt(R / omega)`` inside each type, then a share of q's and k's goes to v (D-Rank)."
    )

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the ranks of q and k that goes to v [-]; authors' code: 0.1 (0.2 for LLaMA-3)."""

    @property
    def requires(self) -> Measure:
        """SIZE: an effective rank needs the sizes of components."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return ranks by effective rank, mapped onto the budget."""
        ranks: dict[str, float] = {}
        for members in _group_by_kind(problem).values():
            costs = {name: sum(problem.matrices[name].shape) for name in members}
            weights = {
                name: (effective_rank(problem.candidates[name].spectrum) / costs[name]) ** 0.5
                for name in members
            }
            weighted_cost = sum(costs[name] * weights[name] for name in members)
            dense_cost = sum(costs[name] * problem.matrices[name].break_even for name in members)
            # Scaled so that the type's ranks cost as much as its dense weights (the break-even ranks).
            ranks |= {name: weights[name] * dense_cost / weighted_cost for name in members}
        self._move_ranks(problem, ranks)
        shares = {name: rank / problem.matrices[name].break_even for name, rank in ranks.items()}
        return problem.by_shares(shares, self)

    def _move_ranks(self, problem: Problem, ranks: dict[str, float]) -> None:
        """Move a share of q's and k's ranks to v, for the same number of parameters, in place."""
        kinds = _group_by_kind(problem)
        receivers = kinds.get(RECEIVER, [])
        if not receivers:
            return
        moved = 0.0
        for name in (name for kind in DONORS for name in kinds.get(kind, [])):
            moved += self.beta * ranks[name] * sum(problem.matrices[name].shape)
            ranks[name] *= 1 - self.beta
        for name in receivers:
            ranks[name] += moved / len(receivers) / sum(problem.matrices[name].shape)


def effective_rank(spectrum: Tensor) -> float:
    """Return exp of the entropy of the squared spectrum [n]: between 1 and n; 1 where all are zero."""
    energy = np.square(np.asarray(spectrum, dtype=np.float64))
    energy = energy[energy > 0]
    p = energy / energy.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _group_by_kind(problem: Problem) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for name, candidate in problem.candidates.items():
        kinds.setdefault(candidate.kind, []).append(name)
    return kinds
