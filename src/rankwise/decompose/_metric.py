"""The quadratic estimate of the loss as a metric on weights, and fits in it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class KroneckerMetric:
    """``½ tr(G D C Dᵀ)`` of a change D [out, in]; G [out, out], C [in, in] positive definite."""

    outputs: Tensor
    """G."""
    inputs: Tensor
    """C."""

    @cached_property
    def diagonal(self) -> Tensor:
        """[out, in]: ``G_ii C_jj``, twice the loss of a change of 1 in one entry."""
        return torch.outer(self.outputs.diagonal(), self.inputs.diagonal())

    @cached_property
    def released(self) -> Tensor:
        """[out, in]: ``1/([G⁻¹]_ii [C⁻¹]_jj)``, the same where all other entries are free to make up for it."""
        inverses = torch.linalg.inv(self.outputs), torch.linalg.inv(self.inputs)
        return 1 / torch.outer(inverses[0].diagonal(), inverses[1].diagonal())

    def loss(self, change: Tensor) -> float:
        """Return what a change [out, in] costs [nats/token]."""
        return float((self.outputs @ change @ self.inputs * change).sum()) / 2

    def fit(self, target: Tensor, values: Tensor, mask: Tensor, iterations: int) -> Tensor:
        """Return entries [out, in] inside ``mask`` that come nearer ``target`` than ``values`` do.

        Conjugate gradients on ``min loss(target − values)`` over the entries in the mask, all coupled,
        from ``values`` (zero outside) on, preconditioned by the diagonal; the loss never rises.
        """
        rest = (self.outputs @ (target - values) @ self.inputs) * mask
        steep = rest / self.diagonal
        direction, size = steep, (rest * steep).sum()
        for _ in range(iterations):
            if not size > 0:
                break
            image = (self.outputs @ direction @ self.inputs) * mask
            length = size / (direction * image).sum()
            values, rest = values + length * direction, rest - length * image
            steep = rest / self.diagonal
            before, size = size, (rest * steep).sum()
            direction = steep + size / before * direction
        return values
