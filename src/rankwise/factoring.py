"""Applying a decomposer to the linears of a block: weights from disk, statistics in, factors out."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from rankwise.artifacts import BlockCurvature, BlockStatistics, Factors, InputStatistics, SparsePart
from rankwise.budget import Matrix
from rankwise.decompose import Decomposer
from rankwise.errors import RankwiseError
from rankwise.models import Linear, family_of

FACTORISE = torch.float64
"""Precision in which matrices are factored."""


def largest_rank(shape: torch.Size) -> int:
    """Return the largest rank worth storing: factors then hold at most as many numbers as W."""
    out, columns = shape
    return max(1, out * columns // (out + columns))


def factor_block(
    folder: Path,
    architecture: str,
    block: BlockStatistics,
    decomposer: Decomposer,
    device: torch.device,
    curvature: BlockCurvature | None = None,
) -> Iterator[tuple[str, Factors]]:
    """Yield name and factors of every linear of the block that the method does not leave dense.

    Only the block's own weights are read, one at a time; what the linears of a site share is found
    once. A bias that the linear has already is carried on: into the factors' offset. Raises
    RankwiseError naming the linear where a result is not finite.
    """
    weights = Weights(folder)
    name = decomposer.__class__.__name__
    linears = family_of(architecture).linears(block.layers)
    for site, members in groupby(linears, key=lambda linear: (linear.layer, linear.site)):
        shared = block.sites[site].to(device)
        for linear in tqdm(members, f"{name}, layer {site[0]}, {site[1]}", disable=None):
            if linear.kind in decomposer.dense:
                continue
            weight = weights.get(f"{linear.name}.weight").to(device, FACTORISE)
            outputs = block.outputs.get(linear.name)
            inputs = replace(shared, outputs=None if outputs is None else outputs.to(device))
            if curvature is not None:
                inputs = replace(inputs, gradient=curvature.linears[linear.name].to(device))
            factors = _factor(linear, weight, inputs, decomposer)
            bias = weights.find(f"{linear.name}.bias")
            if bias is not None:
                before = 0 if factors.offset is None else factors.offset
                factors = replace(factors, offset=before + bias.to(device, FACTORISE))
            yield linear.name, factors.to(torch.device("cpu"))


def _factor(
    linear: Linear, weight: Tensor, inputs: InputStatistics, decomposer: Decomposer
) -> Factors:
    """Return the factors of one linear, checked, with the errors of the weight they leave."""
    if not bool(weight.isfinite().all()):
        raise RankwiseError(
            f"{linear.name}: the weight holds NaN or infinite values; check the model's files"
        )
    factors = decomposer(weight, inputs, largest_rank(weight.shape))
    made = [factors.left, factors.right, factors.spectrum]
    if factors.sparse is not None:
        made += [factors.sparse.values, factors.sparse.magnitudes]
    if not all(bool(tensor.isfinite().all()) for tensor in made):
        raise RankwiseError(
            f"{linear.name} (layer {linear.layer}, site {linear.site}): {decomposer.__class__.__name__} gave NaN or "
            "infinite factors; look at the statistics, or raise its damping"
        )
    if factors.sparse is not None:
        factors = replace(factors, sparse=payable(factors, factors.sparse))
    return replace(factors, weight_errors=weight_errors(weight, factors))


def payable(factors: Factors, sparse: SparsePart) -> SparsePart:
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
    pairs = (left.T @ left) * (right @ right.T)
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


class Weights:
    """The tensors of a model folder by name, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.where: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as stream:
                self.where |= dict.fromkeys(stream.keys(), path)

    def find(self, name: str) -> Tensor | None:
        """Return a tensor, or None if the model has none of that name."""
        if name not in self.where:
            return None
        with safe_open(self.where[name], "pt") as stream:
            return stream.get_tensor(name)

    def get(self, name: str) -> Tensor:
        """Return a tensor; raises RankwiseError if the model has none of that name."""
        tensor = self.find(name)
        if tensor is None:
            raise RankwiseError(f"the model's weight files hold no tensor '{name}'")
        return tensor

    def shape(self, name: str) -> tuple[int, int]:
        """Return a matrix's shape [out, in] from its file's header."""
        if name not in self.where:
            self.get(name)
        with safe_open(self.where[name], "pt") as stream:
            out, columns = stream.get_slice(name).get_shape()
        return out, columns
