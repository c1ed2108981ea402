"""Pooled input statistics of every site, gathered in one pass over the calibration tokens.

Precision: activations in the model's own, products of one batch in at least float32, sums in
float64 (`ACCUMULATE`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rankwise.artifacts import BlockStatistics, InputStatistics
from rankwise.errors import RankwiseError
from rankwise.models import Family

ACCUMULATE = torch.float64
"""Precision of every sum that is kept."""


class SiteSums:
    """Running sums of one site: Σ x xᵀ over everything, Σ x over each pool."""

    def __init__(self, layer: int, site: str, width: int, pools: int, device: torch.device) -> None:
        self.layer, self.site = layer, site
        self.second = torch.zeros(width, width, dtype=ACCUMULATE, device=device)
        self.first = torch.zeros(pools, width, dtype=ACCUMULATE, device=device)
        self.pool = 0

    def add(self, x: Tensor) -> None:
        """Add inputs ``x`` [..., width], all of the present pool."""
        rows = x.detach().reshape(-1, x.shape[-1])
        if rows.dtype in (torch.bfloat16, torch.float16):
            rows = rows.float()
        self.second += (rows.T @ rows).to(ACCUMULATE)
        self.first[self.pool] += rows.sum(0, dtype=ACCUMULATE)
        if not bool(self.first[self.pool].isfinite().all()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: inputs are NaN or infinite in pool {self.pool}; "
                "check the model's weights, or load it in float32 (prepare.model.dtype)"
            )

    def statistics(self, pool_tokens: int) -> InputStatistics:
        """Return the finished statistics; refuses sums that overflowed."""
        if not bool(self.second.isfinite().all()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: second moments are NaN or infinite"
            )
        return InputStatistics(self.second.cpu(), (self.first / pool_tokens).cpu(), pool_tokens)


def gather(
    model: Any, family: Family, ids: Tensor, pools: int, batch: int, blocks: list[list[int]]
) -> list[BlockStatistics]:
    """Return the input statistics of every site, one `BlockStatistics` per block of layers.

    ``ids`` [sequences, length]; the sequences form ``pools`` groups of equal size, in order, and a
    batch never crosses a group. Cost: one forward pass over the tokens and, per site of width d,
    d² multiplications a token; memory: 8·d² bytes a site.
    """
    per_pool = len(ids) // pools
    if per_pool * pools != len(ids) or not per_pool:
        raise RankwiseError(
            f"{len(ids)} calibration sequences do not form {pools} equal pools; change covariance.pools or sample.calibration.sequences"
        )
    layers = [layer for block in blocks for layer in block]
    with _recording(model, family, layers, pools) as sums, torch.no_grad():
        for pool in tqdm(range(pools), "pools", disable=None):
            for site in sums.values():
                site.pool = pool
            for part in ids[pool * per_pool : (pool + 1) * per_pool].split(batch):
                # The decoder alone: the head's logits are of no use here.
                model.get_decoder()(part.to(model.device), use_cache=False)
    tokens = per_pool * ids.shape[1]
    return [
        BlockStatistics(
            block, {key: s.statistics(tokens) for key, s in sums.items() if key[0] in block}
        )
        for block in blocks
    ]


@contextmanager
def _recording(
    model: nn.Module, family: Family, layers: list[int], pools: int
) -> Iterator[dict[tuple[int, str], SiteSums]]:
    """Hook the first linear of every site: linears of one site see the same tensor."""
    sums: dict[tuple[int, str], SiteSums] = {}
    hooks = []
    for linear in family.linears(layers):
        key = linear.layer, linear.site
        if key in sums:
            continue
        module = model.get_submodule(linear.name)
        width, device = module.in_features, next(module.parameters()).device
        sums[key] = SiteSums(*key, width, pools, device)  # type: ignore[arg-type]
        hooks.append(module.register_forward_pre_hook(_adder(sums[key])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _adder(sums: SiteSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sums.add(arguments[0])

    return hook
