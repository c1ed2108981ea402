"""Muon for the matrices, AdamW for the rest, in float32.

Muon (Jordan et al., 2024) steps along the momentum with all its singular values set to about one.
The intent is weights that use more of their directions, so that compression has something to lose;
docs/dev/lab-log.md says what was measured of it and what was not. `torch.optim.Muon` does the same in bfloat16, which this CPU-bound training
cannot afford: without hardware for it a step took ten times as long.
"""

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration."""
ITERATIONS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return ``matrices`` [n, rows, columns] with all singular values near one."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; matrices of one shape are worked on together."""

    def __init__(
        self, matrices: list[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        groups = [{"params": [m for m in matrices if tuple(m.shape) == s]} for s in shapes]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        """Take one step; every parameter must have a gradient."""
        for group in self.param_groups:
            matrices = group["params"]
            gradients = torch.stack([matrix.grad for matrix in matrices])
            state = self.state[matrices[0]]
            velocity = state.setdefault("velocity", torch.zeros_like(gradients))
            velocity.lerp_(gradients, 1 - group["momentum"])
            update = orthogonalise(gradients.lerp(velocity, group["momentum"]))
            rows, columns = matrices[0].shape
            rate = group["lr"] * max(1.0, rows / columns) ** 0.5
            for matrix, direction in zip(matrices, update, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=rate)
