"""The quadratic estimate of the loss as a metric on weights, and least-squares fits in it."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rankwise.linalg import factorisations

FITTED_IN = torch.float32
"""Precision of a fit's products: a fit takes some dozen steps towards a minimum and needs no more."""


@dataclass(frozen=True)
class KroneckerMetric:
    """The metric ``½ tr(G D C Dᵀ)`` of a change D [out, in] of the weight; G and C positive definite.

    All methods compute in the precision of G and C.
    """

    outputs: Tensor
    """G [out, out], or only its diagonal [out]."""
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
        """[out, in]: ``1/([G⁻¹]_ii [C⁻¹]_jj)``, the same where all other entries may change to compensate."""
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
        """Return the predicted increase of the loss from a change [out, in] [nats/token]."""
        return float((self.image(change) * change).sum()) / 2

    def fit(self, target: Tensor, values: Tensor, mask: Tensor, iterations: int) -> Tensor:
        """Return values [out, in], zero outside ``mask``, that are nearer to ``target`` than ``values``.

        Conjugate gradients on ``min loss(target − values)`` over all entries in the mask together. They
        start from ``values`` (zero outside) and use the diagonal as preconditioner. The loss never rises.
        """
        residual = self.image(target - values) * mask
        preconditioned = residual / self.diagonal
        direction, size = preconditioned, (residual * preconditioned).sum()
        for _ in range(iterations):
            if not size > 0:
                break
            image = self.image(direction) * mask
            curvature = (direction * image).sum()
            if not curvature > 0:  # the remaining residual is below this precision
                break
            step = size / curvature
            values, residual = values + step * direction, residual - step * image
            preconditioned = residual / self.diagonal
            previous, size = size, (residual * preconditioned).sum()
            direction = preconditioned + size / previous * direction
        return values
