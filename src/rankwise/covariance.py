"""Statistics of every site and sublayer, gathered in one pass over the calibration tokens.

Precision: activations in the model's own, products of one batch in at least float32, sums in
float64 (`ACCUMULATE`).
"""

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rankwise.artifacts import BlockStatistics, InputStatistics
from rankwise.errors import RankwiseError
from rankwise.family import Family
from rankwise.layers import shape_of

log = logging.getLogger("rankwise.covariance")
ACCUMULATE = torch.float64
"""Precision of every sum that is kept."""


class SiteSums:
    """Running sums of one site: Σ x xᵀ and Σ |x| over everything, Σ x over each pool."""

    def __init__(self, layer: int, site: str, width: int, pools: int, device: torch.device) -> None:
        self.layer, self.site = layer, site
        self.second = torch.zeros(width, width, dtype=ACCUMULATE, device=device)
        self.first = torch.zeros(pools, width, dtype=ACCUMULATE, device=device)
        self.absolute = torch.zeros(width, dtype=ACCUMULATE, device=device)
        self.tokens = torch.zeros(pools, dtype=torch.int64)
        self.pool = 0

    def add(self, x: Tensor) -> None:
        """Add inputs ``x`` [..., width], all of the present pool."""
        rows = x.detach().reshape(-1, x.shape[-1])
        if rows.dtype in (torch.bfloat16, torch.float16):
            rows = rows.float()
        self.tokens[self.pool] += len(rows)
        self.second += (rows.T @ rows).to(ACCUMULATE)
        self.first[self.pool] += rows.sum(0, dtype=ACCUMULATE)
        self.absolute += rows.abs().sum(0, dtype=ACCUMULATE)
        if not bool(self.first[self.pool].isfinite().all()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: inputs are NaN or infinite in pool {self.pool}; "
                "check the model's weights, or load it in float32 (prepare.model.dtype)"
            )

    def statistics(self) -> InputStatistics:
        """Return the finished statistics; refuses sums that overflowed."""
        if not bool(self.second.isfinite().all()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: second moments are NaN or infinite"
            )
        means = self.first.cpu() / self.tokens.clamp_min(1)[:, None]
        return InputStatistics(self.second.cpu(), means, self.tokens, self.absolute.cpu())


class CosineSums:
    """Running sums of one layer: over tokens, the cosine between the states around each sublayer.

    A sublayer's output is added to the hidden state, so the state behind it is the state before plus
    that output; the layer's own input starts the chain. Where sublayers work in ``parallel``, each is
    compared with the layer's input.
    """

    def __init__(
        self, layer: int, sublayers: Iterable[str], parallel: bool, device: torch.device
    ) -> None:
        self.layer, self.parallel = layer, parallel
        self.totals = {name: torch.zeros((), dtype=ACCUMULATE, device=device) for name in sublayers}
        self._state = torch.empty(0)

    def start(self, state: Tensor) -> None:
        """Take the layer's input [..., width]."""
        self._state = state.detach()

    def add(self, sublayer: str, output: Tensor) -> None:
        """Add what a sublayer adds to the hidden state [..., width]; tokens may be flattened."""
        self.reach(sublayer, self._state + output.reshape(self._state.shape))

    def reach(self, sublayer: str, state: Tensor) -> None:
        """Take the hidden state behind a sublayer [..., width]."""
        behind = state.detach()
        cosine = functional.cosine_similarity(self._state.float(), behind.float(), dim=-1)
        self.totals[sublayer] += cosine.sum(dtype=ACCUMULATE)
        if not self.parallel:
            self._state = behind

    def sums(self) -> dict[tuple[int, str], float]:
        """Return the finished sums; refuses NaN."""
        found = {(self.layer, name): float(total) for name, total in self.totals.items()}
        for (layer, name), total in found.items():
            if not math.isfinite(total):
                raise RankwiseError(
                    f"covariance of layer {layer}, sublayer {name}: hidden states are NaN or infinite; "
                    "check the model's weights, or load it in float32 (prepare.model.dtype)"
                )
        return found


def gather(
    model: Any, family: Family, ids: Tensor, pools: int, batch: int, blocks: list[list[int]]
) -> list[BlockStatistics]:
    """Return the statistics of every site and sublayer, one `BlockStatistics` per block of layers.

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
    with (
        _recording(model, family, layers, pools) as sums,
        _comparing(model, family, layers) as cosines,
        torch.no_grad(),
    ):
        for pool in tqdm(range(pools), "pools", disable=None):
            for site in sums.values():
                site.pool = pool
            for part in ids[pool * per_pool : (pool + 1) * per_pool].split(batch):
                # The decoder alone: the head's logits are of no use here.
                model.get_decoder()(part.to(model.device), use_cache=False)
    found = [
        BlockStatistics(
            block,
            {key: s.statistics() for key, s in sums.items() if key[0] in block},
            {key: total for layer in block for key, total in cosines[layer].sums().items()},
        )
        for block in blocks
    ]
    _say_unknown(family, found)
    return found


def _say_unknown(family: Family, blocks: list[BlockStatistics]) -> None:
    """Name the experts whose inputs the text says too little of."""
    for block in blocks:
        unknown = {
            (linear.layer, linear.expert): block.sites[linear.layer, linear.site].tokens
            for linear in family.linears(block.layers)
            if linear.expert is not None and not block.sites[linear.layer, linear.site].varies
        }
        for (layer, expert), tokens in unknown.items():
            log.warning(
                "layer %d, expert %d: the calibration text sends it %d tokens, none or hardly different ones, "
                "so its linears will stay dense; to compress them give more, or other, text (sample.calibration)",
                layer,
                expert,
                tokens,
            )


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
        _, width = shape_of(module)
        sums[key] = SiteSums(*key, width, pools, next(module.parameters()).device)
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


@contextmanager
def _comparing(
    model: nn.Module, family: Family, layers: list[int]
) -> Iterator[dict[int, CosineSums]]:
    """Hook the input of every layer and the output of each of its sublayers."""
    sums: dict[int, CosineSums] = {}
    hooks = []
    for layer in layers:
        block = model.get_submodule(f"{family.layers}.{layer}")
        device = next(block.parameters()).device
        sums[layer] = CosineSums(layer, family.sublayers, family.parallel, device)
        hooks.append(block.register_forward_pre_hook(_starter(sums[layer]), with_kwargs=True))
        for name, sublayer in family.sublayers.items():
            module = block.get_submodule(sublayer.adds or sublayer.gives or "")
            take = sums[layer].add if sublayer.adds else sums[layer].reach
            hooks.append(module.register_forward_hook(partial(_take_output, take, name)))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _starter(sums: CosineSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        sums.start(arguments[0] if arguments else named["hidden_states"])

    return hook


def _take_output(take: Any, name: str, _module: Any, _inputs: Any, output: Any) -> None:
    # Attention returns its weights beside its output.
    take(name, output[0] if isinstance(output, tuple) else output)
