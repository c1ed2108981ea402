"""Bolaco's post-training: trains two diagonals around some of the model's own components, then folds them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.refine.base import Refiner

if TYPE_CHECKING:
    from torch import nn

    from rankwise.records.refine import Curve
    from rankwise.refine.base import Refinement


class DiagonalLoRA(Refiner):
    """``y = (B A + diag(l_b) B' diag(l_d) A') x``, training only the diagonals (Bolaco, arXiv 2405.10616).

    B' [out, r'] and A' [r', in] are r' randomly drawn components of the linear's *own* factors B and A, the
    same ones on both sides. This follows the authors' code; the paper only says "randomly chosen". The sum
    equals ``(B ∘ (1 + l_b sᵀ)) A`` with s = l_d at the drawn components and 0 elsewhere. It is therefore
    folded into B exactly, and neither rank nor budget changes.
    Published: r' 256, l_d from 0.1, l_b from 0, learning rate 2e-3, batch 64, 2 epochs of Alpaca.
    Deviations: the text is the calibration text, and the loss is that of the next token. r' is at most the
    rank. The learning rate has a cosine decay. The result is the state that was best on held-out sequences.
    Dense linears and biases do not change.
    Losses in the curves are in nats per token. The whole model is trained in float32. An interrupted training
    starts again from the beginning. Cost: epochs × 3 forward passes of the model.

    Use it to compare with Bolaco's post-training; it needs memory for the whole model in float32 and its gradients.
    """

    summary: ClassVar[str] = (
        "``y = (B A + diag(l_b) B' diag(l_d) A') x``, only the diagonals trained (Bolaco, arXiv 2405.10616)."
    )

    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """AdamW's learning rate; 2e-3 is published for Alpaca; few steps need more: 2e-2 on 224 sequences (docs/dev/lab-log.md) [-]."""
    epochs: Annotated[int, Field(ge=1)] = 2
    batch: Annotated[int, Field(ge=1)] = 64
    components: Annotated[int, Field(ge=1)] = 256
    """r': components to draw in each linear, at most its rank [-]."""

    def __call__(self, problem: Refinement) -> list[Curve]:
        """Train the diagonals of every factored linear together, and fold them in."""
        import torch
        from torch.nn.utils import parametrize

        from rankwise.hub.linears import LowRankLinear
        from rankwise.refine._diagonals import Diagonals
        from rankwise.refine._fit import fit, text_loss
        from rankwise.refine._fit import next_token_loss as loss

        model, training = problem.compressed, problem.training
        dtype = model.dtype
        model.float()
        generator = torch.Generator().manual_seed(self.seed)
        factored = [module for module in model.modules() if isinstance(module, LowRankLinear)]
        parameters: list[nn.Parameter] = []
        for module in factored:
            diagonals = Diagonals(module.left.weight, self.components, generator)
            parametrize.register_parametrization(module.left, "weight", diagonals)
            parameters += diagonals.parameters()
        held_out = problem.ids[training:]
        curve = fit(
            parameters,
            lambda part: loss(model, problem.ids[part]),
            lambda: text_loss(model, held_out, self.batch),
            self,
            training,
            None,
        )
        for module in factored:
            parametrize.remove_parametrizations(module.left, "weight", leave_parametrized=True)
        model.to(dtype)
        return [curve]
