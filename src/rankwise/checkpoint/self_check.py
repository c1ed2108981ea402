"""Whether a checkpoint, opened again, is the model that was meant: tensors, errors, perplexity."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.budget.costs import Choices, Kept
from rankwise.checkpoint.assembly import ExpectedModel
from rankwise.checkpoint.loading import load_folder
from rankwise.decompose.factoring import FACTORISE
from rankwise.errors import RankwiseError
from rankwise.evaluate.perplexity import mean_loss, window_losses
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.model.weights import Weights
from rankwise.records.made import LinearCheck, SelfCheck

ROUNDING = 8.0
"""Rounding errors of stored factors that a linear may be off by, each of eps·‖left‖·‖right‖."""
LOSS_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""What storing the factors in that precision may change of the mean loss [nats/token]."""


def unigram_loss(ids: Tensor, counted: Tensor, vocabulary: int) -> float:
    """Return the mean loss on the predicted tokens of ``ids`` by the frequencies in ``counted`` [nats/token]."""
    counts = torch.bincount(counted.flatten().long(), minlength=vocabulary).double() + 1
    return -float((counts / counts.sum()).log()[ids[:, 1:].long()].mean())


def verify_build(
    folder: Path,
    weights: Weights,
    factors: Iterable[Path],
    choices: Choices,
    counted: Tensor,
    meant: ExpectedModel,
) -> tuple[SelfCheck, dict[str, LinearCheck]]:
    """Open a checkpoint folder and compare it with what was meant; raises RankwiseError where it differs.

    ``weights`` are those of the dense model, ``factors`` the files of every group; token frequencies are
    those of ``counted`` (any shape), every token of the vocabulary counted once more. Cost: one forward
    pass over the text, and for every linear a product of its factors.
    """
    model = open_checkpoint(folder)
    linears: dict[str, LinearCheck] = {}
    for path in factors:
        linears |= _group_check(path, model, weights, choices)
    ids = meant.ids
    loss = mean_loss(window_losses(model, ids, 1))
    refuse_other_loss(loss, meant.loss, model.dtype, f"build{_worst(linears)}")
    check = SelfCheck(
        sequences=len(ids),
        length=ids.shape[1],
        dense_loss=meant.dense_loss,
        expected_loss=meant.loss,
        loss=loss,
        unigram_loss=unigram_loss(ids, counted, model.config.vocab_size),
    )
    return check, linears


def open_checkpoint(folder: Path) -> Any:
    """Open a checkpoint folder; raises RankwiseError where a tensor was not filled or is not finite."""
    model, _ = load_folder(folder)
    model.requires_grad_(requires_grad=False)
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or not bool(tensor.isfinite().all()):
            state = "was not filled" if tensor.is_meta else "holds NaN or infinite values"
            raise RankwiseError(
                f"{name} of the checkpoint {state}; look at that linear's factors and at build.dtype"
            )
    return model


def refuse_other_loss(found: float, expected: float, dtype: torch.dtype, where: str) -> None:
    """Refuse a checkpoint whose loss is not the one of the model that was written [nats/token]."""
    allowed = LOSS_TOLERANCE[dtype]
    if not abs(found - expected) <= allowed:
        raise RankwiseError(
            f"{where}: the checkpoint, opened again, loses {found:.4f} nats a token of calibration text, the model that was "
            f"written {expected:.4f} (allowed: {allowed} apart); store it in a wider build.dtype"
        )


def _worst(linears: dict[str, LinearCheck]) -> str:
    """Name the linear with the largest error, if any is factored."""
    if not linears:
        return ""
    worst = max(linears, key=lambda name: linears[name].error)
    return f" (largest error: {worst}, {linears[worst].error:.0%} of its weight)"


def _group_check(
    path: Path, model: Any, weights: Weights, choices: Choices
) -> dict[str, LinearCheck]:
    """Check the linears of one group's factors; its file is mapped no longer than that."""
    return {
        name: _linear_check(name, model.get_submodule(name), weights, linear, kept)
        for name, linear in GroupFactors.load(path).linears.items()
        if (kept := choices[name]) is not None
    }


def _linear_check(
    name: str, linear: LowRankLinear, weights: Weights, factors: Factors, kept: Kept
) -> LinearCheck:
    """Return how far a linear is from the dense weight, and was to be; refuses one further than rounding."""
    meant = factors.left[:, : kept.rank].to(FACTORISE) @ factors.right[: kept.rank].to(FACTORISE)
    if factors.sparse is not None:
        meant += factors.sparse.dense(kept.entries, factors.shape)
    left, right = linear.left.weight.to(FACTORISE), linear.right.weight.to(FACTORISE)
    found = left @ right
    if isinstance(linear, LowRankSparseLinear):
        found += linear.sparse()
    weight = weights.get(name).to(FACTORISE)
    size = float(weight.norm())
    eps = torch.finfo(linear.left.weight.dtype).eps
    rounding = ROUNDING * eps * max(float(left.norm() * right.norm()), size)
    off = float((found - meant).norm())
    if not off <= rounding:
        raise RankwiseError(
            f"build: {name} of the checkpoint is {off:.3g} away from the factors it was made of (rounding: {rounding:.3g}); "
            "the files do not hold what was written: build again"
        )
    predicted, error = float((weight - meant).norm()), float((weight - found).norm())
    return LinearCheck(predicted_error=predicted / size, error=error / size)


def refuse_worse_than_unigram(check: SelfCheck, linears: dict[str, LinearCheck]) -> None:
    """Refuse a model that predicts text worse than token frequencies do; names the worst linear."""
    if check.loss < check.unigram_loss:
        return
    raise RankwiseError(
        f"build: the compressed model loses {check.loss:.2f} nats a token on {check.sequences} calibration sequences, token "
        f"frequencies alone {check.unigram_loss:.2f}: nothing is left of it (dense: {check.dense_loss:.2f}){_worst(linears)}. "
        "Keep more, choose another method, or write build.worse_than_unigram: record to have it all the same"
    )
