"""Applies a decomposer to the linears of a layer group, with weights from disk."""

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
from rankwise.linalg import symmetric
from rankwise.linalg.precision import FACTORISE
from rankwise.model.family import Linear
from rankwise.model.weights import Weights

log = logging.getLogger("rankwise.decompose")


def largest_rank(shape: tuple[int, ...]) -> int:
    """Return the largest rank whose factors hold at most as many numbers as W, at least 1."""
    out, columns = shape
    return max(1, out * columns // (out + columns))


def factor_group(
    weights: Weights,
    group: GroupStatistics,
    decomposer: Decomposer,
    device: torch.device,
    fisher: GroupFisher | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[str, Factors]]:
    """Yield name and factors of every linear of the group that the method does not leave dense.

    It reads only the group's own weights, one at a time, and computes shared results once per site. The
    factors' offset includes the linear's own bias. An expert with too little calibration text stays
    dense, with a warning. Factors have the precision `FACTORISE`, or that of a file with ``dtype``.
    Raises RankwiseError naming the linear where a result is not finite.
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
            inputs = _statistics_of(linear, shared, group, fisher)
            factors = _factor_with_bias(linear, weights, inputs, decomposer)
            if dtype is not None:
                factors = _round_factors(linear, factors, dtype)
            yield linear.name, factors.to(torch.device("cpu"))
            del factors, inputs  # free them before the next linear allocates its own


def _statistics_of(
    linear: Linear,
    shared: InputStatistics,
    group: GroupStatistics,
    fisher: GroupFisher | None,
) -> InputStatistics:
    """Return a site's statistics, with the outputs and gradient of one of its linears."""
    device, outputs = shared.pool_means.device, group.outputs.get(linear.name)
    inputs = replace(shared, outputs=None if outputs is None else outputs.to(device))
    if fisher is None:
        return inputs
    return replace(inputs, gradient=fisher.linears[linear.name].to(device))


def _factor_with_bias(
    linear: Linear, weights: Weights, inputs: InputStatistics, decomposer: Decomposer
) -> Factors:
    """Return the factors of a linear whose weight is on disk; their offset includes the linear's own bias."""
    device = inputs.pool_means.device
    weight = weights.get(linear.name).to(device, FACTORISE)
    factors = factor_linear(linear, weight, inputs, decomposer)
    bias = weights.bias(linear.name)
    if bias is None:
        return factors
    offset = 0 if factors.offset is None else factors.offset
    return replace(factors, offset=offset + bias.to(device, FACTORISE))


def _round_factors(linear: Linear, factors: Factors, dtype: torch.dtype) -> Factors:
    try:
        return factors.stored(dtype)
    except RankwiseError as error:
        raise RankwiseError(f"{linear.name}: {error}") from error


def _has_statistics(linear: Linear, inputs: InputStatistics, fisher: GroupFisher | None) -> bool:
    """Return whether an expert's inputs vary, and whether the loss depends on its output."""
    gradient = None if fisher is None else fisher.linears[linear.name]
    felt = gradient is None or bool(gradient.squares.any())
    return felt and inputs.varies


def factor_linear(
    linear: Linear, weight: Tensor, inputs: InputStatistics, decomposer: Decomposer
) -> Factors:
    """Return the factors of one linear, with the errors of the weight; raises RankwiseError where not finite."""
    if not symmetric.is_finite(weight):
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
    if factors.weight_errors is not None:  # the method has computed them faster
        return factors
    return replace(factors, weight_errors=weight_errors(weight, factors))


def drop_unaffordable(factors: Factors, sparse: SparsePart) -> SparsePart:
    """Return the sparse part without the nonzeros that only choices dearer than the dense weight can hold.

    It keeps the nonzeros up to the last cheaper choice of the schedule, and those towards the next choice
    that the dense weight's cost still pays for. Every choice loses the dropped nonzeros alike.
    """
    schedule = sparse.choices()
    matrix = Matrix(factors.shape, factors.max_rank, ladder=schedule)
    dense = matrix.parameters(None)
    last = max(0, bisect_left(schedule, dense, key=matrix.parameters) - 1)
    most = schedule[min(last + 1, len(schedule) - 1)].entries
    return sparse.first(matrix.affordable(schedule[last].rank, dense - 1, range(most + 1)))


def weight_errors(weight: Tensor, factors: Factors) -> Tensor:
    """Return ‖W‖_F², then ‖W − left[:, :r] @ right[:r]‖_F² for r = 1 … R, or for every choice of the schedule.

    Without a sparse part it uses two Gram matrices [R, R]: ``‖W‖² − 2 Σᵢ lᵢᵀ W rᵢ + Σᵢⱼ (lᵢ·lⱼ)(rᵢ·rⱼ)``.
    The double sum grows by one row and column a rank. With a sparse part it computes every choice's residual.
    """
    if factors.sparse is not None:
        return _residuals(weight, factors, factors.sparse)
    left, right = factors.left, factors.right
    pairs = symmetric.symmetric_product(left.T, left) * symmetric.symmetric_product(right, right.T)
    grown = 2 * pairs.tril(-1).sum(1) + pairs.diagonal()
    shared = ((left.T @ weight) * right).sum(1)
    steps = (grown - 2 * shared).cumsum(0)
    total = weight.square().sum()
    return torch.cat([total[None], total + steps]).clamp_min(0)


def _residuals(weight: Tensor, factors: Factors, sparse: SparsePart) -> Tensor:
    """Return the squared norm of ``weight``, then of its residual at every choice of the schedule."""
    errors = [weight.square().sum()]
    rank, low = 0, torch.zeros_like(weight)
    for choice in sparse.choices():
        if choice.rank != rank:  # many choices of a schedule share one rank
            rank, low = choice.rank, factors.left[:, : choice.rank] @ factors.right[: choice.rank]
        errors.append((weight - low - sparse.dense(choice.entries, factors.shape)).square().sum())
    return torch.stack(errors)
