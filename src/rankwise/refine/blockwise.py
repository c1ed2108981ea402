"""AA-SVD's refinement: the factors of one block at a time reproduce the dense block's output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rankwise.refine.base import Refiner

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from rankwise.artifacts.refined import RefinedBlock
    from rankwise.records.made import Curve
    from rankwise.refine._streams import Arguments
    from rankwise.refine.base import Refinement


class Blockwise(Refiner):
    """``min E‖block(x̂) − block_dense(x)‖²`` over a block's factors, biases and sparse values, block by block.

    AA-SVD (arXiv 2604.02119, its second stage): x are the hidden states of calibration text in the
    dense model, x̂ those behind the compressed blocks before, already refined. Published: AdamW
    1e-4, 25 epochs, 256 samples; weight decay and schedule are not, ours are 0 and cosine.
    Deviations: the state that was best on held-out sequences is kept; linears left dense and the
    places of sparse entries stay as they are, their values are trained with the factors. Arithmetic is float32; weights are rounded to the checkpoint's precision
    behind their block, and later blocks see the rounded ones.
    Errors in the curves are shares of the dense output's mean square [-].
    Memory beside the models: two streams of hidden states, [sequences, length, width] each, on the
    CPU; gradients and optimiser of one block. Cost: epochs × 3 forward passes over the text.

    Use it behind any run, if its time can be spared: it improved every method but ours at keep 0.8, where it returned its input.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Narrow models want more: 4e-3 at width 128 (docs/dev/lab-log.md), 1e-4 is published for 4096 [-]."""
    epochs: Annotated[int, Field(ge=1)] = 25
    batch: Annotated[int, Field(ge=1)] = 16
    inputs: Literal["compressed", "dense"] = "compressed"
    """Whose hidden states the block is trained on: 'compressed' makes it mend what came before it."""
    norms: bool = False
    """Whether the block's norms are trained as well."""

    def __call__(self, problem: Refinement) -> list[Curve]:
        """Refine block after block; finished ones are taken from ``problem.work``."""
        from rankwise.refine._streams import advance, block_arguments, block_inputs

        theirs = problem.dense.get_submodule(problem.family.layers)
        ours = problem.compressed.get_submodule(problem.family.layers)
        arguments = block_arguments(problem.dense, theirs, problem.ids)
        dense = block_inputs(problem.dense, theirs, problem.ids, self.batch)
        compressed = block_inputs(problem.compressed, ours, problem.ids, self.batch)
        stored = problem.dense.dtype, problem.compressed.dtype
        curves = []
        for layer, (teacher, block) in enumerate(zip(theirs, ours, strict=True)):
            if self.inputs == "dense":
                compressed = dense.to(stored[1], copy=True)
            advance(teacher.float(), dense, arguments[layer], self.batch)
            teacher.to(stored[0])
            block.float()
            curves.append(
                self._refine(problem, layer, block, (compressed, dense, arguments[layer]))
            )
            block.to(stored[1]).float()
            if self.inputs == "compressed":
                advance(block, compressed, arguments[layer], self.batch)
            block.to(stored[1])
        return curves

    def _refine(
        self,
        problem: Refinement,
        layer: int,
        block: nn.Module,
        streams: tuple[Tensor, Tensor, Arguments],
    ) -> Curve:
        """Train one block, or take it up from an earlier call."""
        import torch

        from rankwise.artifacts.refined import RefinedBlock
        from rankwise.records.made import Curve

        path = problem.work / f"group_{layer}.safetensors" if problem.work is not None else None
        trained = trainable(block, norms=self.norms)
        done = _load_finished(path, problem.fingerprint)
        if done is not None:
            with torch.no_grad():
                for name, parameter in trained.items():
                    parameter.copy_(done.tensors[name])
            return Curve.model_validate(done.curve)
        curve = self._train(list(trained.values()), layer, block, problem.training, streams)
        if path is not None:
            state = {name: parameter.detach().cpu() for name, parameter in trained.items()}
            RefinedBlock(problem.fingerprint, curve.model_dump(mode="json"), state).save(path)
        return curve

    def _train(
        self,
        parameters: list[nn.Parameter],
        layer: int,
        block: nn.Module,
        training: int,
        streams: tuple[Tensor, Tensor, Arguments],
    ) -> Curve:
        """Train ``parameters`` of the block towards the dense stream, [sequences, length, width]."""
        import torch

        from rankwise.refine._fit import fit
        from rankwise.refine._streams import outputs

        inputs, targets, arguments = streams
        power = float(targets[:training].float().square().mean())

        def error(part: Tensor) -> Tensor:
            made = outputs(block, inputs[part], arguments)
            wanted = targets[part].to(made.device, made.dtype)
            return (made - wanted).square().mean() / power

        @torch.no_grad()
        def held_out() -> float:
            parts = torch.arange(training, len(inputs)).split(self.batch)
            total = sum(float(error(part)) * len(part) for part in parts)
            return total / (len(inputs) - training)

        return fit(parameters, error, held_out, self, training, layer)


def trainable(block: nn.Module, *, norms: bool) -> dict[str, nn.Parameter]:
    """Return a block's factors, their biases and sparse values by name, its norms as well if asked."""
    from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear

    found: dict[str, nn.Parameter] = {}
    for path, module in block.named_modules():
        if isinstance(module, LowRankLinear):
            for side in ("right", "left"):
                factor = module.get_submodule(side)
                found |= {f"{path}.{side}.{name}": p for name, p in factor.named_parameters()}
            if isinstance(module, LowRankSparseLinear):
                found[f"{path}.values"] = module.values
        elif norms:
            own = dict(module.named_parameters(recurse=False))
            if all(parameter.ndim == 1 for parameter in own.values()):
                found |= {f"{path}.{name}": parameter for name, parameter in own.items()}
    return found


def _load_finished(path: Path | None, fingerprint: str) -> RefinedBlock | None:
    """Return a block that an earlier call with the same inputs has finished."""
    from rankwise.artifacts.refined import RefinedBlock

    if path is None or not path.exists():
        return None
    done = RefinedBlock.load(path)
    return done if done.fingerprint == fingerprint else None
