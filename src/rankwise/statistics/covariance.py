"""The covariance pass: statistics of every site and sublayer, in one pass over the calibration tokens."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rankwise.artifacts.statistics import GroupStatistics
from rankwise.errors import RankwiseError
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.model.family import Family, Linear
from rankwise.model.shapes import shape_of
from rankwise.params.covariance import CovarianceParams
from rankwise.statistics.accumulators import CosineSums, Position, SiteSums

log = logging.getLogger("rankwise.covariance")


@dataclass(frozen=True)
class Pools:
    """The calibration sequences in equal pools, in order, and the pools that a pass covers."""

    ids: Tensor
    """[sequences, length]: the sequences of all pools."""
    count: int
    """Number of pools [-]."""
    chosen: range
    """Pools that the pass covers."""

    @classmethod
    def of_shard(cls, ids: Tensor, params: CovarianceParams, shard: int) -> "Pools":
        """Return the pools of one of ``params.shards`` equal shards: consecutive pools."""
        size = params.pools // params.shards
        return cls(ids, params.pools, range(shard * size, (shard + 1) * size))

    @property
    def size(self) -> int:
        """Sequences in a pool; raises RankwiseError where they do not divide evenly."""
        size = len(self.ids) // self.count
        if size * self.count != len(self.ids) or not size:
            raise RankwiseError(
                f"{len(self.ids)} calibration sequences do not form {self.count} equal pools; "
                "change covariance.pools or sample.calibration.sequences"
            )
        return size


def gather_covariance(
    model: Any,
    family: Family,
    weight_of: Callable[[str], Tensor],
    ids: Tensor,
    groups: list[list[int]],
    params: CovarianceParams,
) -> list[GroupStatistics]:
    """Return the statistics of every site and sublayer, one `GroupStatistics` per layer group.

    They are on the model's device. The function adds the statistics of the pools (`gather_pools`) in
    their order, so that pools from other jobs give the same bytes. Memory: twice the sums.
    """
    pools = Pools(ids, params.pools, range(params.pools))
    parts = gather_pools(model, family, weight_of, pools, groups, params)
    totals = next(parts)
    for part in parts:
        for group, addend in zip(totals, part, strict=True):
            group.add(addend)
        del part, addend  # free them before the next pool allocates its own
    warn_unknown_experts(family, totals)
    return totals


def gather_pools(
    model: Any,
    family: Family,
    weight_of: Callable[[str], Tensor],
    pools: Pools,
    groups: list[list[int]],
    params: CovarianceParams,
) -> Iterator[list[GroupStatistics]]:
    """Yield the statistics of each pool in order, one `GroupStatistics` per layer group, on the model's device.

    A batch never crosses a pool. With ``params.gathered`` SMALLER, a site whose outputs are smaller
    than its input (sum of out² < in²) has second moments of its outputs y = W x instead. W [out, in]
    is the dense model's weight, which ``weight_of`` returns by name; the model may be compressed.
    Cost: one forward pass over the pools' tokens and, per site of width d, at most d² multiplications
    a token and 8·d² bytes.
    """
    size = pools.size
    layers = [layer for group in groups for layer in group]
    position = Position(model.device)
    sums_of = partial(_make_site_sums, model, weight_of, params.gathered, position)
    with (
        _record_sites(model, family, layers, sums_of) as sums,
        _record_sublayers(model, family, layers, position) as cosines,
    ):
        for pool in tqdm(pools.chosen, "pools", disable=None):
            for site in sums.values():
                site.start()
            for layer in cosines.values():
                layer.start()
            for begin in range(0, size, params.batch):
                position.pool, position.sequence = pool, pool * size + begin
                end = pool * size + min(begin + params.batch, size)
                # Only the decoder runs, because the pass does not need the head's logits.
                with torch.no_grad():
                    model.get_decoder()(
                        pools.ids[position.sequence : end].to(model.device), use_cache=False
                    )
                position.refuse_not_finite()
            yield [_take_pool(group, sums, cosines) for group in groups]


def _take_pool(
    group: list[int], sums: dict[tuple[int, str], SiteSums], cosines: dict[int, CosineSums]
) -> GroupStatistics:
    """Return one pool's statistics of a layer group."""
    pool_sums = {key: site_sums.take() for key, site_sums in sums.items() if key[0] in group}
    return GroupStatistics(
        group,
        {key: statistics for key, (statistics, _) in pool_sums.items()},
        {key: total for layer in group for key, total in cosines[layer].sums().items()},
        {name: y for _, outputs in pool_sums.values() for name, y in outputs.items()},
    )


def warn_unknown_experts(family: Family, groups: list[GroupStatistics]) -> None:
    """Log a warning for every expert that receives too few different tokens to be factored."""
    for group in groups:
        unknown = {
            (linear.layer, linear.expert): group.sites[linear.layer, linear.site].tokens
            for linear in family.linears(group.layers)
            if linear.expert is not None and not group.sites[linear.layer, linear.site].varies
        }
        for (layer, expert), tokens in unknown.items():
            log.warning(
                "layer %d, expert %d: the calibration text sends it %d tokens, none or hardly different ones, "
                "so its linears will stay dense; to compress them give more, or other, text (sample.calibration)",
                layer,
                expert,
                tokens,
            )


def _make_site_sums(
    model: nn.Module,
    weight_of: Callable[[str], Tensor],
    moments: RequiredStatistics,
    position: Position,
    linears: list[Linear],
) -> SiteSums:
    """Return the empty sums of the site of ``linears``, holding what ``moments`` requires."""
    _, width = shape_of(model.get_submodule(linears[0].name))
    weights: dict[str, Tensor] = {}
    if moments == RequiredStatistics.SMALLER:
        dense_weights = {linear.name: weight_of(linear.name).detach() for linear in linears}
        if sum(len(weight) ** 2 for weight in dense_weights.values()) < width**2:
            weights = {name: weight.to(position.device) for name, weight in dense_weights.items()}
    full_matrix = moments > RequiredStatistics.CHANNELS and not weights
    key = linears[0].layer, linears[0].site
    return SiteSums(*key, width, position, full_matrix=full_matrix, weights=weights)


@contextmanager
def _record_sites(
    model: nn.Module,
    family: Family,
    layers: list[int],
    sums_of: Callable[[list[Linear]], SiteSums],
) -> Iterator[dict[tuple[int, str], SiteSums]]:
    """Hook the first linear of every site, because all linears of a site have the same input."""
    sums: dict[tuple[int, str], SiteSums] = {}
    hooks = []
    for key, members in groupby(family.linears(layers), key=lambda one: (one.layer, one.site)):
        linears = list(members)
        sums[key] = sums_of(linears)
        module = model.get_submodule(linears[0].name)
        hooks.append(module.register_forward_pre_hook(_make_input_hook(sums[key])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _make_input_hook(sums: SiteSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sums.add(arguments[0])

    return hook


@contextmanager
def _record_sublayers(
    model: nn.Module, family: Family, layers: list[int], position: Position
) -> Iterator[dict[int, CosineSums]]:
    """Hook the input of every layer and the output of each sublayer."""
    sums: dict[int, CosineSums] = {}
    hooks = []
    for layer in layers:
        module = model.get_submodule(f"{family.layers}.{layer}")
        sums[layer] = CosineSums(layer, family.sublayers, position, parallel=family.parallel)
        hooks.append(
            module.register_forward_pre_hook(_make_layer_hook(sums[layer]), with_kwargs=True)
        )
        for name, sublayer in family.sublayers.items():
            part = module.get_submodule(sublayer.adds or sublayer.gives or "")
            take = sums[layer].add if sublayer.adds else sums[layer].reach
            hooks.append(part.register_forward_hook(partial(_take_output, take, name)))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _make_layer_hook(sums: CosineSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        sums.enter(arguments[0] if arguments else named["hidden_states"])

    return hook


def _take_output(take: Any, name: str, _module: Any, _inputs: Any, output: Any) -> None:
    # Attention returns its output and its attention weights.
    take(name, output[0] if isinstance(output, tuple) else output)
