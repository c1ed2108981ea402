"""Check that a checkpoint, opened again, is the expected model: tensors, errors, loss."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.budget.costs import Choices, Kept
from rankwise.checkpoint.assembly import ExpectedModel
from rankwise.checkpoint.loading import load_folder
from rankwise.errors import RankwiseError
from rankwise.evaluate.perplexity import mean_loss, window_losses
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.linalg.precision import FACTORISE
from rankwise.model.weights import Weights
from rankwise.records.build import LinearCheck, SelfCheck

ROUNDING = 8.0
"""Allowed distance of a linear from its factors, in rounding errors of eps·‖left‖·‖right‖ each."""
LOSS_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""Allowed change of the mean loss when the factors are stored in that precision [nats/token]."""


def unigram_loss(ids: Tensor, text: Tensor, vocabulary: int) -> float:
    """Return the mean loss on the predicted tokens of ``ids`` by token frequencies in ``text`` [nats/token]."""
    counts = torch.bincount(text.flatten().long(), minlength=vocabulary).double() + 1
    return -float((counts / counts.sum()).log()[ids[:, 1:].long()].mean())


def verify_build(
    folder: Path,
    weights: Weights,
    factors: Iterable[Path],
    choices: Choices,
    text: Tensor,
    expected: ExpectedModel,
) -> tuple[SelfCheck, dict[str, LinearCheck]]:
    """Open a checkpoint folder and compare it with ``expected``; raises RankwiseError where it differs.

    ``weights`` are those of the dense model, ``factors`` the files of every layer group. Token
    frequencies come from ``text`` (any shape), with every token of the vocabulary counted once more.
    Cost: one forward pass over the expected model's text, and one product of factors per linear.
    """
    model = open_checkpoint(folder)
    linears: dict[str, LinearCheck] = {}
    for path in factors:
        linears |= _check_group(path, model, weights, choices)
    ids = expected.ids
    loss = mean_loss(window_losses(model, ids, 1))
    refuse_other_loss(loss, expected.loss, model.dtype, f"build{_name_worst(linears)}")
    check = SelfCheck(
        sequences=len(ids),
        length=ids.shape[1],
        dense_loss=expected.dense_loss,
        expected_loss=expected.loss,
        loss=loss,
        unigram_loss=unigram_loss(ids, text, model.config.vocab_size),
    )
    return check, linears


def open_checkpoint(folder: Path) -> Any:
    """Open a checkpoint folder; raises RankwiseError for a tensor that is missing or not finite."""
    model, _ = load_folder(folder)
    model.requires_grad_(requires_grad=False)
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or not bool(tensor.isfinite().all()):
            state = "was not filled" if tensor.is_meta else "holds NaN or infinite values"
            raise RankwiseError(
                f"{name} of the checkpoint {state}; look at that linear's factors and at build.dtype"
            )
    return model


def refuse_other_loss(loss: float, expected: float, dtype: torch.dtype, where: str) -> None:
    """Refuse a checkpoint whose ``loss`` is not the ``expected`` one of the written model [nats/token]."""
    allowed = LOSS_TOLERANCE[dtype]
    if not abs(loss - expected) <= allowed:
        raise RankwiseError(
            f"{where}: the checkpoint, opened again, loses {loss:.4f} nats a token of calibration text, the model that was "
            f"written {expected:.4f} (allowed: {allowed} apart); store it in a wider build.dtype"
        )


def _name_worst(linears: dict[str, LinearCheck]) -> str:
    """Return a note that names the linear with the largest error, or "" where none is factored."""
    if not linears:
        return ""
    worst = max(linears, key=lambda name: linears[name].error)
    return f" (largest error: {worst}, {linears[worst].error:.0%} of its weight)"


def _check_group(
    path: Path, model: Any, weights: Weights, choices: Choices
) -> dict[str, LinearCheck]:
    """Check the linears of one layer group; its file of factors is mapped only meanwhile."""
    return {
        name: _check_linear(name, model.get_submodule(name), weights, linear, choice)
        for name, linear in GroupFactors.load(path).linears.items()
        if (choice := choices[name]) is not None
    }


def _check_linear(
    name: str, linear: LowRankLinear, weights: Weights, factors: Factors, choice: Kept
) -> LinearCheck:
    """Return the expected and the actual error of a linear; refuses a difference above rounding."""
    expected = factors.left[:, : choice.rank].to(FACTORISE) @ factors.right[: choice.rank].to(
        FACTORISE
    )
    if factors.sparse is not None:
        expected += factors.sparse.dense(choice.entries, factors.shape)
    left, right = linear.left.weight.to(FACTORISE), linear.right.weight.to(FACTORISE)
    stored = left @ right
    if isinstance(linear, LowRankSparseLinear):
        stored += linear.sparse()
    weight = weights.get(name).to(FACTORISE)
    size = float(weight.norm())
    eps = torch.finfo(linear.left.weight.dtype).eps
    rounding = ROUNDING * eps * max(float(left.norm() * right.norm()), size)
    distance = float((stored - expected).norm())
    if not distance <= rounding:
        raise RankwiseError(
            f"build: {name} of the checkpoint is {distance:.3g} away from the factors it was made of (rounding: {rounding:.3g}); "
            "the files do not hold what was written: build again"
        )
    predicted, error = float((weight - expected).norm()), float((weight - stored).norm())
    return LinearCheck(predicted_error=predicted / size, error=error / size)


def refuse_worse_than_unigram(check: SelfCheck, linears: dict[str, LinearCheck]) -> None:
    """Refuse a model that predicts text worse than token frequencies; the error names the worst linear."""
    if check.loss < check.unigram_loss:
        return
    raise RankwiseError(
        f"build: the compressed model loses {check.loss:.2f} nats a token on {check.sequences} calibration sequences, token "
        f"frequencies alone {check.unigram_loss:.2f}: the model is unusable (dense: {check.dense_loss:.2f}){_name_worst(linears)}. "
        "Keep more, choose another method, or set build.worse_than_unigram: record to keep the checkpoint"
    )
