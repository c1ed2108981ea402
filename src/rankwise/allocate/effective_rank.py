"""D-Rank's allocation: layers of a type by their effective rank, then ranks from q and k to v."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.allocate.problem import Choices, Problem

GIVING, TAKING = ("q", "k"), "v"


class EffectiveRank(Allocator):
    """Ranks by ``k ∝ sqrt(R / omega)`` inside each type, then a share of q's and k's goes to v (D-Rank).

    arXiv 2509.25622: ``R = exp(−Σ p log p)`` with ``p_i = σ_i² / Σ σ²`` of the whitened spectrum (that
    of the decomposer ``whitened_svd``; of the decomposer at hand otherwise) and omega the parameters
    that one rank costs, out + in: the minimum of ``Σ R/k`` under ``Σ omega·k``. Every type has the
    same budget relative to its size; then ``beta`` of the ranks of q and of k is taken, and what they
    cost is shared equally among the v of all layers. Our reading: one layer is one group (the paper
    joins neighbouring layers into one matrix), and the result is mapped onto the budget, where the
    authors hand what v cannot take back to q and k. Where v stays dense nothing moves.
    Cost: one sort of all rank steps.

    Use it to set D-Rank beside others: ahead of `uniform` on the embedded model at keep 0.8 alone.
    """

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the ranks of q and k that goes to v [-]; the authors' code has 0.1 (0.2 for LLaMA-3)."""

    @property
    def requires(self) -> Measure:
        """An effective rank is one of sizes."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return ranks by effective rank, mapped onto the budget."""
        ranks: dict[str, float] = {}
        for members in _by_kind(problem).values():
            cost = {name: sum(problem.matrices[name].shape) for name in members}
            wish = {
                name: (effective_rank(problem.candidates[name].spectrum) / cost[name]) ** 0.5
                for name in members
            }
            asked = sum(cost[name] * wish[name] for name in members)
            whole = sum(cost[name] * problem.matrices[name].break_even for name in members)
            # At a share of 1 for every matrix the type's ranks cost as much as its dense weights.
            ranks |= {name: wish[name] * whole / asked for name in members}
        self._move(problem, ranks)
        shares = {name: rank / problem.matrices[name].break_even for name, rank in ranks.items()}
        return problem.by_shares(shares, self)

    def _move(self, problem: Problem, ranks: dict[str, float]) -> None:
        """Move a share of q's and k's ranks to v, parameter for parameter."""
        kinds = _by_kind(problem)
        taking = kinds.get(TAKING, [])
        if not taking:
            return
        moved = 0.0
        for name in (name for kind in GIVING for name in kinds.get(kind, [])):
            moved += self.beta * ranks[name] * sum(problem.matrices[name].shape)
            ranks[name] *= 1 - self.beta
        for name in taking:
            ranks[name] += moved / len(taking) / sum(problem.matrices[name].shape)


def effective_rank(spectrum: Tensor) -> float:
    """Return exp of the entropy of the squared spectrum [n], between 1 and n; 1 for zeros."""
    energy = np.square(np.asarray(spectrum, dtype=np.float64))
    energy = energy[energy > 0]
    p = energy / energy.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _by_kind(problem: Problem) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for name, candidate in problem.candidates.items():
        kinds.setdefault(candidate.kind, []).append(name)
    return kinds
