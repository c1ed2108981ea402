"""The trained parameters of `diagonal_lora`: two diagonals that scale some components of a factor."""

import torch
from torch import Tensor, nn


class Diagonals(nn.Module):
    """Parametrization that maps B [out, rank] to ``B ∘ (1 + l_b sᵀ)``; s is l_d at drawn components, else 0."""

    drawn: Tensor

    def __init__(self, left: Tensor, components: int, generator: torch.Generator) -> None:
        super().__init__()
        out, rank = left.shape
        drawn = torch.randperm(rank, generator=generator)[:components].sort().values
        self.register_buffer("drawn", drawn.to(left.device))
        self.l_b = nn.Parameter(torch.zeros(out, device=left.device))
        self.l_d = nn.Parameter(torch.full((len(drawn),), 0.1, device=left.device))

    def forward(self, left: Tensor) -> Tensor:
        """Return the factor [out, rank] with the diagonals folded in."""
        scale = left.new_zeros(left.shape[1]).index_copy(0, self.drawn, self.l_d)
        return left * (1 + self.l_b[:, None] * scale)
