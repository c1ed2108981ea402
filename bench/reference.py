"""Bolaco's algorithm as it was published (arXiv 2405.10616), written anew: what ours is measured against.

The covariance of every matrix's *outputs* [out, out] is gathered group by group, its whole eigenproblem
solved, whatever the matrix's shape; a trial copies the model and factors it anew. In float64 where ours
is. Nothing is shared between matrices, nothing but ranks is passed to a trial.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankwise.hub.linears import LowRankLinear

ACCUMULATE = torch.float64


@dataclass
class Outputs:
    """Sums over one group, and the mean over the groups that are finished, of the outputs of one linear."""

    second: Tensor
    """[out, out] float64: sum of y yᵀ over the group."""
    first: Tensor
    """[out] float64: sum of y over the group."""
    covariance: Tensor
    """[out, out] float64: mean of the groups' sample covariances."""
    mean: Tensor
    """[out] float64: mean of the groups' means."""


def gather(
    model: Any, names: list[str], ids: Tensor, groups: int, batch: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return covariance [out, out] and mean [out] of the outputs of the named linears.

    ``ids`` [sequences, length] in ``groups`` of equal size. Memory: 16·out² bytes a linear.
    """
    sums, hooks = {}, []
    for name in names:
        linear = model.get_submodule(name)
        square, line = (torch.zeros(shape, dtype=ACCUMULATE) for shape in _shapes(linear))
        sums[name] = Outputs(square, line, square.clone(), line.clone())
        hooks.append(linear.register_forward_hook(_adder(sums[name])))
    tokens = len(ids) // groups * ids.shape[1]
    for group in ids.chunk(groups):
        for part in group.split(batch):
            with torch.no_grad():
                model.get_decoder()(part, use_cache=False)
        for each in sums.values():
            mean = each.first / tokens
            each.covariance += (each.second - tokens * torch.outer(mean, mean)) / (tokens - 1)
            each.mean += mean
            each.second.zero_()
            each.first.zero_()
    for hook in hooks:
        hook.remove()
    return {name: (s.covariance.div_(groups), s.mean.div_(groups)) for name, s in sums.items()}


def decompose(statistics: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return eigenvectors [out, out], those of the largest eigenvalues first, and mean [out], by name.

    Takes the covariances out of ``statistics``, one after the other.
    """
    found = {}
    for name in list(statistics):
        covariance, mean = statistics.pop(name)
        found[name] = torch.linalg.eigh(covariance)[1].flip(1), mean
        del covariance
    return found


def trial(model: Any, found: dict[str, tuple[Tensor, Tensor]], ranks: dict[str, int]) -> Any:
    """Return a copy of the model whose linears are ``U_r (U_rᵀ W x) + (I − U_r U_rᵀ) E[y]``."""
    compressed = copy.deepcopy(model)
    for name, rank in ranks.items():
        dense = compressed.get_submodule(name)
        vectors, mean = found[name]
        left = vectors[:, :rank]
        new = LowRankLinear(dense.in_features, dense.out_features, rank, bias=True)
        new.right.weight = nn.Parameter((left.T @ dense.weight.to(ACCUMULATE)).to(dense.weight))
        new.left.weight = nn.Parameter(left.to(dense.weight).contiguous())
        new.left.bias = nn.Parameter((mean - left @ (left.T @ mean)).to(dense.weight))
        compressed.set_submodule(name, new)
    return compressed


def _shapes(linear: nn.Linear) -> tuple[tuple[int, int], tuple[int]]:
    return (linear.out_features, linear.out_features), (linear.out_features,)


def _adder(sums: Outputs) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        rows = output.reshape(-1, output.shape[-1])
        sums.second += rows.T @ rows
        sums.first += rows.sum(0, dtype=ACCUMULATE)

    return hook
