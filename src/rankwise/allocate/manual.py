"""Allocation by a table of shares, one per type of linear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.allocate.base import Allocator
from rankwise.errors import RankwiseError, nearest

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Manual(Allocator):
    """Every type of linear keeps its share of ``shares``, the same in all layers; default 1.

    Shares are relative to the break-even rank and mapped onto the budget, so only their ratios matter.
    Matrices whose mapped share reaches 1 are dense. List a type that must stay dense at every budget in the
    decomposer's ``dense``. Cost: one sort of all rank steps.

    Use it for shares that were published or found elsewhere, such as LoRD's.
    """

    summary: ClassVar[str] = (
        "Every type of linear keeps the share given for it, the same in all layers; 1 where none is given."
    )

    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    """Type, as the model's family names it (q, k, v, o, gate, up, down, …) → kept share, relative to other types [-]."""

    def __call__(self, problem: Problem) -> Choices:
        """Return choices by type; raises RankwiseError for a type without factors."""
        kinds = {name: candidate.kind for name, candidate in problem.candidates.items()}
        known = sorted(set(kinds.values()))
        for kind in self.shares:
            if kind not in known:
                raise RankwiseError(
                    f"allocate.manual.shares names '{kind}', a type without factors here; {nearest(kind, known)}"
                )
        shares = {name: self.shares.get(kind, 1.0) for name, kind in kinds.items()}
        return problem.by_shares(shares, self)
