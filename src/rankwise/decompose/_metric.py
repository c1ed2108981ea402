"""The quadratic estimate of the loss as a metric on weights, and fits in it."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rankwise.linalg import factorisations

FITTED_IN = torch.float32
"""Precision of the many products of a fit: some dozen steps towards a minimum, not the minimum itself."""


@dataclass(frozen=True)
class KroneckerMetric:
    """``½ tr(G D C Dᵀ)`` of a change D [out, in]; G and C positive definite.

    Everything is computed in the precision of G and C.
    """

    outputs: Tensor
    """G [out, out], or its diagonal alone [out]."""
    inputs: Tensor
    """C [in, in]."""

    def to(self, dtype: torch.dtype) -> "KroneckerMetric":
        """Return the same metric in another precision."""
        return replace(self, outputs=self.outputs.to(dtype), inputs=self.inputs.to(dtype))

    @cached_property
    def diagonal(self) -> Tensor:
        """[out, in]: ``G_ii C_jj``, twice the loss of a change of 1 in one entry."""
        outputs = self.outputs if self.outputs.ndim == 1 else self.outputs.diagonal()
        return torch.outer(outputs, self.inputs.diagonal())

    @cached_property
    def released(self) -> Tensor:
        """[out, in]: ``1/([G⁻¹]_ii [C⁻¹]_jj)``, the same where all other entries are free to make up for it."""
        inputs = torch.linalg.inv(self.inputs).diagonal()
        if self.outputs.ndim == 1:
            return torch.outer(self.outputs, 1 / inputs)
        return 1 / torch.outer(torch.linalg.inv(self.outputs).diagonal(), inputs)

    def output_roots(self) -> tuple[Tensor, Tensor]:
        """Return G^½ and its inverse [out, out]."""
        if self.outputs.ndim == 1:
            return self.outputs.sqrt().diag(), self.outputs.rsqrt().diag()
        return factorisations.square_roots(self.outputs)

    def image(self, change: Tensor) -> Tensor:
        """Return ``G D C`` [out, in], the gradient of the loss."""
        if self.outputs.ndim == 1:
            return (self.outputs[:, None] * change) @ self.inputs
        return self.outputs @ change @ self.inputs

    def loss(self, change: Tensor) -> float:
        """Return what a change [out, in] costs [nats/token]."""
        return float((self.image(change) * change).sum()) / 2

    def fit(self, target: Tensor, values: Tensor, mask: Tensor, iterations: int) -> Tensor:
        """Return entries [out, in] inside ``mask`` that come nearer ``target`` than ``values`` do.

        Conjugate gradients on ``min loss(target − values)`` over the entries in the mask, all coupled,
        from ``values`` (zero outside) on, preconditioned by the diagonal; the loss never rises.
        """
        rest = self.image(target - values) * mask
        steep = rest / self.diagonal
        direction, size = steep, (rest * steep).sum()
        for _ in range(iterations):
            if not size > 0:
                break
            image = self.image(direction) * mask
            bend = (direction * image).sum()
            if not bend > 0:  # what is left is below this precision
                break
            length = size / bend
            values, rest = values + length * direction, rest - length * image
            steep = rest / self.diagonal
            before, size = size, (rest * steep).sum()
            direction = steep + size / before * direction
        return values
