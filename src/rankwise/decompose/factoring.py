"""Applying a decomposer to the linears of a group: weights from disk, statistics in, factors out."""

import logging
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor
from tqdm import tqdm

from rankwise.artifacts.factors import Factors, SparsePart
from rankwise.artifacts.gradients import GroupFisher
from rankwise.artifacts.statistics import GroupStatistics, InputStatistics
from rankwise.budget.costs import Matrix
from rankwise.decompose import Decomposer
from rankwise.errors import RankwiseError, nearest
from rankwise.linalg import factorisations
from rankwise.model.family import Linear
from rankwise.model.weights import Weights

log = logging.getLogger("rankwise.decompose")

FACTORISE = torch.float64
"""Precision in which matrices are factored."""


def largest_rank(shape: tuple[int, ...]) -> int:
    """Return the largest rank worth storing: factors then hold at most as many numbers as W."""
    out, columns = shape
    return max(1, out * columns // (out + columns))


def factor_group(
    weights: Weights,
    group: GroupStatistics,
    decomposer: Decomposer,
    device: torch.device,
    fisher: GroupFisher | None = None,
    stored: torch.dtype | None = None,
) -> Iterator[tuple[str, Factors]]:
    """Yield name and factors of every linear of the group that the method does not leave dense.

    Only the group's own weights are read, one at a time; what the linears of a site share is found
    once. A bias that the linear has already is carried on: into the factors' offset. An expert of which
    the calibration text says too little stays dense, with a warning. Factors are in `FACTORISE`, or as a
    file of ``stored`` precision holds them. Raises RankwiseError naming the linear where a result is not finite.
    """
    for kind in decomposer.dense:
        if kind not in weights.family.kinds():
            raise RankwiseError(
                f"decompose: 'dense' names '{kind}', a type of linear that this model has not; "
                f"{nearest(kind, weights.family.kinds())}"
            )
    name = decomposer.__class__.__name__
    linears = [x for x in weights.family.linears(group.layers) if x.kind not in decomposer.dense]
    for site, members in groupby(linears, key=lambda linear: (linear.layer, linear.site)):
        shared = group.sites[site].to(device)
        for linear in tqdm(members, f"{name}, layer {site[0]}, {site[1]}", disable=None):
            if linear.expert is not None and not _has_statistics(linear, shared, fisher):
                log.warning(
                    "%s stays dense: the calibration text says too little of this expert",
                    linear.name,
                )
                continue
            inputs = _inputs_of(linear, shared, group, fisher)
            factors = _with_bias(linear, weights, inputs, decomposer)
            if stored is not None:
                factors = _as_stored(linear, factors, stored)
            yield linear.name, factors.to(torch.device("cpu"))
            del factors, inputs  # or they would stand beside those of the next linear


def _inputs_of(
    linear: Linear,
    shared: InputStatistics,
    group: GroupStatistics,
    fisher: GroupFisher | None,
) -> InputStatistics:
    """Return a site's statistics with what belongs to one of its linears alone."""
    device, outputs = shared.pool_means.device, group.outputs.get(linear.name)
    inputs = replace(shared, outputs=None if outputs is None else outputs.to(device))
    if fisher is None:
        return inputs
    return replace(inputs, gradient=fisher.linears[linear.name].to(device))


def _with_bias(
    linear: Linear, weights: Weights, inputs: InputStatistics, decomposer: Decomposer
) -> Factors:
    """Return the factors of a linear whose weight is on disk, a bias that it has already in their offset."""
    device = inputs.pool_means.device
    weight = weights.get(linear.name).to(device, FACTORISE)
    factors = factor_linear(linear, weight, inputs, decomposer)
    bias = weights.bias(linear.name)
    if bias is None:
        return factors
    before = 0 if factors.offset is None else factors.offset
    return replace(factors, offset=before + bias.to(device, FACTORISE))


def _as_stored(linear: Linear, factors: Factors, dtype: torch.dtype) -> Factors:
    try:
        return factors.stored(dtype)
    except RankwiseError as error:
        raise RankwiseError(f"{linear.name}: {error}") from error


def _has_statistics(linear: Linear, inputs: InputStatistics, fisher: GroupFisher | None) -> bool:
    """Tell whether an expert's inputs differ, and whether the loss depends on its output."""
    gradient = None if fisher is None else fisher.linears[linear.name]
    felt = gradient is None or bool(gradient.squares.any())
    return felt and inputs.varies


def factor_linear(
    linear: Linear, weight: Tensor, inputs: InputStatistics, decomposer: Decomposer
) -> Factors:
    """Return the factors of one linear, checked, with the errors of the weight they leave."""
    if not factorisations.is_finite(weight):
        raise RankwiseError(
            f"{linear.name}: the weight holds NaN or infinite values; check the model's files"
        )
    if not inputs.finite:
        raise RankwiseError(
            f"{linear.name} (layer {linear.layer}, site {linear.site}): its statistics or gradients hold NaN or infinite "
            "values; gather them again, with the model in float32 if need be (prepare.model.dtype)"
        )
    try:
        factors = decomposer(weight, inputs, largest_rank(weight.shape))
    except torch.linalg.LinAlgError as error:
        raise RankwiseError(
            f"{linear.name} (layer {linear.layer}, site {linear.site}): {decomposer.__class__.__name__} did not converge "
            f"({error}); look at the statistics, or raise its damping"
        ) from error
    if not factors.finite:
        raise RankwiseError(
            f"{linear.name} (layer {linear.layer}, site {linear.site}): {decomposer.__class__.__name__} gave NaN or "
            "infinite factors; look at the statistics, or raise its damping"
        )
    if factors.sparse is not None:
        factors = replace(factors, sparse=drop_unaffordable(factors, factors.sparse))
    if factors.weight_errors is not None:  # the method knows a shorter way
        return factors
    return replace(factors, weight_errors=weight_errors(weight, factors))


def drop_unaffordable(factors: Factors, sparse: SparsePart) -> SparsePart:
    """Return the entries that some choice cheaper than the dense weight can hold; others are dropped.

    Those are the entries up to the last choice of the ladder that is cheaper, and towards the next. What
    the dropped ones cost is lost by every choice alike.
    """
    ladder = sparse.choices()
    matrix = Matrix(factors.shape, factors.max_rank, ladder=ladder)
    dense = matrix.parameters(None)
    last = max(0, bisect_left(ladder, dense, key=matrix.parameters) - 1)
    most = ladder[min(last + 1, len(ladder) - 1)].entries
    return sparse.first(matrix.affordable(ladder[last].rank, dense - 1, range(most + 1)))


def weight_errors(weight: Tensor, factors: Factors) -> Tensor:
    """Return ‖W‖_F², then ‖W − left[:, :r] @ right[:r]‖_F² for r = 1 … R, or for every choice of the ladder.

    Without a sparse part from two Gram matrices [R, R]: ``‖W‖² − 2 Σᵢ lᵢᵀ W rᵢ + Σᵢⱼ (lᵢ·lⱼ)(rᵢ·rⱼ)``,
    whose double sum grows by one row and column a rank. With one, from the residual of every choice.
    """
    if factors.sparse is not None:
        return _residuals(weight, factors, factors.sparse)
    left, right = factors.left, factors.right
    pairs = factorisations.symmetric_product(left.T, left) * factorisations.symmetric_product(
        right, right.T
    )
    grown = 2 * pairs.tril(-1).sum(1) + pairs.diagonal()
    shared = ((left.T @ weight) * right).sum(1)
    steps = (grown - 2 * shared).cumsum(0)
    whole = weight.square().sum()
    return torch.cat([whole[None], whole + steps]).clamp_min(0)


def _residuals(weight: Tensor, factors: Factors, sparse: SparsePart) -> Tensor:
    """Return the squared norm of ``weight`` and of what every choice of the ladder leaves of it."""
    errors = [weight.square().sum()]
    rank, low = 0, torch.zeros_like(weight)
    for kept in sparse.choices():
        if kept.rank != rank:  # many choices of a ladder share one
            rank, low = kept.rank, factors.left[:, : kept.rank] @ factors.right[: kept.rank]
        errors.append((weight - low - sparse.dense(kept.entries, factors.shape)).square().sum())
    return torch.stack(errors)
