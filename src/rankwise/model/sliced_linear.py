"""The linear that stands in for ``nn.Linear`` during a search: factors sliced, nothing copied."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Choice


def shape_of(linear: Any) -> tuple[int, int]:
    """Return [out, in] of a linear, factored or not; GPT-2's Conv1D names its sizes ``nf`` and ``nx``."""
    if hasattr(linear, "nf"):
        return linear.nf, linear.nx
    return linear.out_features, linear.in_features


class SlicedLinear(nn.Module):
    """A linear whose rank can be set at no cost: ranks are slices of factors stored at full rank.

    Holds views only: the dense linear it replaces, and the factors as they were mapped from disk. A
    sparse part is laid out once, as a dense matrix, and changed in place.
    """

    def __init__(self, dense: nn.Module, factors: Factors) -> None:
        super().__init__()
        self.dense = dense
        self.factors = factors
        self.rank: int | None = None
        self._bias: Tensor | None = None
        self._gates: Tensor | None = None
        self._sparse: Tensor | None = None

    def choose(self, choice: Choice) -> None:
        """Choose the first components and entries, or the dense weight."""
        self.rank = None if choice is None else choice.rank
        self._bias = None if choice is None else self.factors.bias(choice.rank)
        self._gates = None
        if choice is not None:
            self._lay_out(slice(choice.entries), choice.entries)

    def mask(self, components: Tensor, entries: Tensor) -> None:
        """Choose any components, ``components`` [R] bool, and entries, ``entries`` [n] bool."""
        self.rank = self.factors.max_rank
        self._gates = components.to(self.factors.right)
        self._bias = self.factors.bias(self.rank, self._gates)
        self._lay_out(entries.to(self.factors.right.device), None)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]."""
        if self.rank is None:
            return self.dense(x)
        codes = functional.linear(x, self.factors.right[: self.rank])
        if self._gates is not None:
            codes = codes * self._gates
        y = functional.linear(codes, self.factors.left[:, : self.rank], self._bias)
        return y if self._sparse is None else y + functional.linear(x, self._sparse)

    def _lay_out(self, which: slice | Tensor, first: int | None) -> None:
        """Put the chosen entries of the sparse part, and no others, into the dense matrix.

        Where they are the ``first`` so many, with the values that go with as many.
        """
        part = self.factors.sparse
        if part is None:
            return
        if self._sparse is None:
            self._sparse = part.values.new_zeros(self.factors.shape)
        flat = self._sparse.zero_().view(-1)
        values = part.values[which] if first is None else part.values_of(first)
        flat[part.places[which].long()] = values.to(flat)
