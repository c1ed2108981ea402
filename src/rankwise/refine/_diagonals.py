"""The trained part of `diagonal_lora`: a factor's components, scaled by an outer product."""

import torch
from torch import Tensor, nn


class Diagonals(nn.Module):
    """Maps B [out, rank] to ``B ∘ (1 + l_b sᵀ)``, s being l_d at drawn components and 0 elsewhere."""

    drawn: Tensor

    def __init__(self, left: Tensor, components: int, generator: torch.Generator) -> None:
        super().__init__()
        out, rank = left.shape
        drawn = torch.randperm(rank, generator=generator)[:components].sort().values
        self.register_buffer("drawn", drawn.to(left.device))
        self.l_b = nn.Parameter(torch.zeros(out, device=left.device))
        self.l_d = nn.Parameter(torch.full((len(drawn),), 0.1, device=left.device))

    def forward(self, left: Tensor) -> Tensor:
        """Return the factor [out, rank] that has the diagonals folded in."""
        scale = left.new_zeros(left.shape[1]).index_copy(0, self.drawn, self.l_d)
        return left * (1 + self.l_b[:, None] * scale)
