"""Replacement of ``nn.Linear`` during a search: slices the factors and copies nothing."""

from torch import Tensor, nn
from torch.nn import functional

from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Choice


class SlicedLinear(nn.Module):
    """A linear whose rank can be set without cost: a rank is a slice of factors stored at full rank.

    It holds only views: the dense linear that it replaces, and the factors as mapped from disk. A sparse
    part is allocated once, as a dense matrix, and changed in place.
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
        """Use the first components and nonzeros of ``choice``, or the dense weight where it is None."""
        self.rank = None if choice is None else choice.rank
        self._bias = None if choice is None else self.factors.bias(choice.rank)
        self._gates = None
        if choice is not None:
            self._fill_sparse(slice(choice.entries), choice.entries)

    def mask(self, components: Tensor, nonzeros: Tensor) -> None:
        """Use any subset of ``components`` [R] bool and ``nonzeros`` [n] bool."""
        self.rank = self.factors.max_rank
        self._gates = components.to(self.factors.right)
        self._bias = self.factors.bias(self.rank, self._gates)
        self._fill_sparse(nonzeros.to(self.factors.right.device), None)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]."""
        if self.rank is None:
            return self.dense(x)
        codes = functional.linear(x, self.factors.right[: self.rank])
        if self._gates is not None:
            codes = codes * self._gates
        y = functional.linear(codes, self.factors.left[:, : self.rank], self._bias)
        return y if self._sparse is None else y + functional.linear(x, self._sparse)

    def _fill_sparse(self, selection: slice | Tensor, count: int | None) -> None:
        """Fill the dense matrix with the nonzeros in ``selection`` and zeros elsewhere.

        ``count`` is their number where they are the first ones; their values may depend on it.
        """
        part = self.factors.sparse
        if part is None:
            return
        if self._sparse is None:
            self._sparse = part.values.new_zeros(self.factors.shape)
        flat = self._sparse.zero_().view(-1)
        values = part.values[selection] if count is None else part.values_of(count)
        flat[part.places[selection].long()] = values.to(flat)
