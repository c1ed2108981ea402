"""The linears that stand in for ``nn.Linear``: factored for keeps, or sliced for a search."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rankwise.artifacts import Factors
from rankwise.budget import Choice


class LowRankLinear(nn.Module):
    """``y = left (right x) + bias``, the form that a checkpoint holds.

    ``right`` [rank, in] and ``left`` [out, rank] are plain ``nn.Linear`` modules, so that everything
    that handles those (dtype casts, devices, adapters) handles them here.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.right = nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype)
        self.left = nn.Linear(rank, out_features, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]; costs rank·(in + out) multiplications a token."""
        return self.left(self.right(x))

    def extra_repr(self) -> str:
        """Say the rank where the module is printed."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


class SlicedLinear(nn.Module):
    """A linear whose rank can be set at no cost: ranks are slices of factors stored at full rank.

    Holds views only: the dense linear it replaces, and the factors as they were mapped from disk.
    """

    def __init__(self, dense: nn.Linear, factors: Factors) -> None:
        super().__init__()
        self.dense = dense
        self.factors = factors
        self.rank: int | None = None
        self._bias: Tensor | None = None

    def choose(self, choice: Choice) -> None:
        """Choose the first components, or the dense weight."""
        self.rank = None if choice is None else choice.rank
        self._bias = None if choice is None else self.factors.bias(choice.rank)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]."""
        if self.rank is None:
            return self.dense(x)
        codes = functional.linear(x, self.factors.right[: self.rank])
        return functional.linear(codes, self.factors.left[:, : self.rank], self._bias)
