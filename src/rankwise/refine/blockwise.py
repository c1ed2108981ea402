"""AA-SVD's refinement: trains the factors of one layer at a time to reproduce the dense layer's output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rankwise.refine.base import Refiner

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from rankwise.artifacts.refined import RefinedBlock
    from rankwise.records.refine import Curve
    from rankwise.refine._streams import Arguments
    from rankwise.refine.base import Refinement


class Blockwise(Refiner):
    """``min E‖layer(x̂) − layer_dense(x)‖²`` over a layer's factors, biases and sparse values, layer by layer.

    AA-SVD (arXiv 2604.02119, its second stage): x are the hidden states of calibration text in the dense
    model, x̂ those after the previous compressed layers, already refined. Published: AdamW 1e-4, 25 epochs,
    256 samples. Weight decay and schedule are not published; ours are 0 and cosine.
    Deviations: the result is the state that was best on held-out sequences. Dense linears and the indices
    of nonzeros do not change; the nonzeros' values are trained with the factors. Arithmetic is float32.
    After each layer its weights are rounded to the checkpoint's precision, and later layers see the rounded
    ones.
    Errors in the curves are shares of the dense output's mean square [-].
    Memory in addition to the models: two streams of hidden states, [sequences, length, width] each, on the
    CPU; gradients and optimiser of one layer. Cost: epochs × 3 forward passes over the text.

    Use it after any run where time allows: it improved every method except ours at keep 0.8, where it returned its input.
    """

    summary: ClassVar[str] = (
        "``min E‖block(x̂) − block_dense(x)‖²`` over a block's factors, biases and sparse values, block by block."
    )

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's learning rate; 1e-4 is published for width 4096; narrow models need more: 4e-3 at 128 (docs/dev/lab-log.md) [-]."""
    epochs: Annotated[int, Field(ge=1)] = 25
    batch: Annotated[int, Field(ge=1)] = 16
    inputs: Literal["compressed", "dense"] = "compressed"
    """Model whose hidden states are a layer's input; with 'compressed' a layer also corrects errors of those before it."""
    norms: bool = False
    """Whether to train the layer's norms too."""

    def __call__(self, problem: Refinement) -> list[Curve]:
        """Refine layer after layer; load finished layers from ``problem.work``."""
        from rankwise.refine._streams import advance, layer_arguments, layer_inputs

        dense_layers = problem.dense.get_submodule(problem.family.layers)
        compressed_layers = problem.compressed.get_submodule(problem.family.layers)
        arguments = layer_arguments(problem.dense, dense_layers, problem.ids)
        dense = layer_inputs(problem.dense, dense_layers, problem.ids, self.batch)
        compressed = layer_inputs(problem.compressed, compressed_layers, problem.ids, self.batch)
        dtypes = problem.dense.dtype, problem.compressed.dtype
        curves = []
        for layer, (teacher, student) in enumerate(
            zip(dense_layers, compressed_layers, strict=True)
        ):
            if self.inputs == "dense":
                compressed = dense.to(dtypes[1], copy=True)
            advance(teacher.float(), dense, arguments[layer], self.batch)
            teacher.to(dtypes[0])
            student.float()
            curves.append(
                self._refine(problem, layer, student, (compressed, dense, arguments[layer]))
            )
            student.to(dtypes[1]).float()
            if self.inputs == "compressed":
                advance(student, compressed, arguments[layer], self.batch)
            student.to(dtypes[1])
        return curves

    def _refine(
        self,
        problem: Refinement,
        layer: int,
        student: nn.Module,
        streams: tuple[Tensor, Tensor, Arguments],
    ) -> Curve:
        """Train one layer, or load it where an earlier call has finished it."""
        import torch

        from rankwise.artifacts.refined import RefinedBlock
        from rankwise.records.refine import Curve

        path = problem.work / f"group_{layer}.safetensors" if problem.work is not None else None
        trained = trainable(student, norms=self.norms)
        finished = _load_finished(path, problem.fingerprint)
        if finished is not None:
            with torch.no_grad():
                for name, parameter in trained.items():
                    parameter.copy_(finished.tensors[name])
            return Curve.model_validate(finished.curve)
        curve = self._train(list(trained.values()), layer, student, problem.training, streams)
        if path is not None:
            state = {name: parameter.detach().cpu() for name, parameter in trained.items()}
            RefinedBlock(problem.fingerprint, curve.model_dump(mode="json"), state).save(path)
        return curve

    def _train(
        self,
        parameters: list[nn.Parameter],
        layer: int,
        student: nn.Module,
        training: int,
        streams: tuple[Tensor, Tensor, Arguments],
    ) -> Curve:
        """Train ``parameters`` of one layer so that its output approaches the dense stream [sequences, length, width]."""
        import torch

        from rankwise.refine._fit import fit
        from rankwise.refine._streams import outputs

        inputs, targets, arguments = streams
        target_power = float(targets[:training].float().square().mean())

        def error(part: Tensor) -> Tensor:
            output = outputs(student, inputs[part], arguments)
            target = targets[part].to(output.device, output.dtype)
            return (output - target).square().mean() / target_power

        @torch.no_grad()
        def held_out() -> float:
            parts = torch.arange(training, len(inputs)).split(self.batch)
            total = sum(float(error(part)) * len(part) for part in parts)
            return total / (len(inputs) - training)

        return fit(parameters, error, held_out, self, training, layer)


def trainable(layer: nn.Module, *, norms: bool) -> dict[str, nn.Parameter]:
    """Return a layer's factors, their biases and sparse values by name; with ``norms`` also its norms."""
    from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear

    parameters: dict[str, nn.Parameter] = {}
    for path, module in layer.named_modules():
        if isinstance(module, LowRankLinear):
            for side in ("right", "left"):
                factor = module.get_submodule(side)
                parameters |= {f"{path}.{side}.{name}": p for name, p in factor.named_parameters()}
            if isinstance(module, LowRankSparseLinear):
                parameters[f"{path}.values"] = module.values
        elif norms:
            own = dict(module.named_parameters(recurse=False))
            if all(parameter.ndim == 1 for parameter in own.values()):
                parameters |= {f"{path}.{name}": parameter for name, parameter in own.items()}
    return parameters


def _load_finished(path: Path | None, fingerprint: str) -> RefinedBlock | None:
    """Return the layer that an earlier call with the same inputs has finished, None where there is none."""
    from rankwise.artifacts.refined import RefinedBlock

    if path is None or not path.exists():
        return None
    saved = RefinedBlock.load(path)
    return saved if saved.fingerprint == fingerprint else None
