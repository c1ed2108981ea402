"""Statistics of every site and sublayer, gathered in one pass over the calibration tokens."""

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
from rankwise.model.sliced_linear import shape_of
from rankwise.params.stages import CovarianceParams
from rankwise.statistics.accumulators import CosineSums, Position, SiteSums

log = logging.getLogger("rankwise.covariance")


@dataclass(frozen=True)
class Pools:
    """Calibration text in groups of equal size, in order, and which of them are looked at."""

    ids: Tensor
    """[sequences, length]: all of them."""
    count: int
    chosen: range

    @classmethod
    def of_shard(cls, ids: Tensor, asked: CovarianceParams, shard: int) -> "Pools":
        """Return the pools of one of ``asked.shards`` equal parts, consecutive ones."""
        size = asked.pools // asked.shards
        return cls(ids, asked.pools, range(shard * size, (shard + 1) * size))

    @property
    def size(self) -> int:
        """Sequences in a pool; raises RankwiseError where they do not come out even."""
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
    asked: CovarianceParams,
) -> list[GroupStatistics]:
    """Return the statistics of every site and sublayer, one `GroupStatistics` per layer group.

    Where the model is. Those of the pools, see `gather_pools`, added up in their order, so that pools
    gathered elsewhere give the same bytes. Memory: twice the sums.
    """
    pools = Pools(ids, asked.pools, range(asked.pools))
    parts = gather_pools(model, family, weight_of, pools, groups, asked)
    found = next(parts)
    for part in parts:
        for group, more in zip(found, part, strict=True):
            group.add(more)
        del part, more  # or they would stand beside those of the next pool
    warn_unknown_experts(family, found)
    return found


def gather_pools(
    model: Any,
    family: Family,
    weight_of: Callable[[str], Tensor],
    pools: Pools,
    groups: list[list[int]],
    asked: CovarianceParams,
) -> Iterator[list[GroupStatistics]]:
    """Yield the statistics of one pool after another, one `GroupStatistics` per layer group, where the model is.

    A batch never crosses a pool. Where ``asked.moments`` is the smaller side, a site whose linears'
    outputs are smaller than its input (the sum of out² than in²) has those gathered instead: of
    y = W x, W the dense model's weight [out, in] that ``weight_of`` gives by name; the model may be a
    compressed one. Cost: one forward pass over the pools' tokens and, per site of width d, at most d²
    multiplications a token and 8·d² bytes.
    """
    size = pools.size
    layers = [layer for group in groups for layer in group]
    place = Position(model.device)
    sums_of = partial(_sums, model, weight_of, asked.gathered, place)
    with (
        _record_sites(model, family, layers, sums_of) as sums,
        _record_sublayers(model, family, layers, place) as cosines,
    ):
        for pool in tqdm(pools.chosen, "pools", disable=None):
            for site in sums.values():
                site.start()
            for layer in cosines.values():
                layer.start()
            for begin in range(0, size, asked.batch):
                place.pool, place.sequence = pool, pool * size + begin
                end = pool * size + min(begin + asked.batch, size)
                # The decoder alone: the head's logits are of no use here.
                with torch.no_grad():
                    model.get_decoder()(
                        pools.ids[place.sequence : end].to(model.device), use_cache=False
                    )
                place.refuse_not_finite()
            yield [_take_pool(group, sums, cosines) for group in groups]


def _take_pool(
    group: list[int], sums: dict[tuple[int, str], SiteSums], cosines: dict[int, CosineSums]
) -> GroupStatistics:
    """Return what one pool gave for a layer group."""
    taken = {key: each.take() for key, each in sums.items() if key[0] in group}
    return GroupStatistics(
        group,
        {key: statistics for key, (statistics, _) in taken.items()},
        {key: total for layer in group for key, total in cosines[layer].sums().items()},
        {name: y for _, outputs in taken.values() for name, y in outputs.items()},
    )


def warn_unknown_experts(family: Family, groups: list[GroupStatistics]) -> None:
    """Name the experts whose inputs the text says too little of."""
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


def _sums(
    model: nn.Module,
    weight_of: Callable[[str], Tensor],
    moments: RequiredStatistics,
    place: Position,
    linears: list[Linear],
) -> SiteSums:
    """Return the sums that are asked of one site, given its linears."""
    _, width = shape_of(model.get_submodule(linears[0].name))
    weights: dict[str, Tensor] = {}
    if moments == RequiredStatistics.SMALLER:
        found = {linear.name: weight_of(linear.name).detach() for linear in linears}
        if sum(len(weight) ** 2 for weight in found.values()) < width**2:
            weights = {name: weight.to(place.device) for name, weight in found.items()}
    whole = moments > RequiredStatistics.CHANNELS and not weights
    at = linears[0].layer, linears[0].site
    return SiteSums(*at, width, place, whole=whole, weights=weights)


@contextmanager
def _record_sites(
    model: nn.Module,
    family: Family,
    layers: list[int],
    sums_of: Callable[[list[Linear]], SiteSums],
) -> Iterator[dict[tuple[int, str], SiteSums]]:
    """Hook the first linear of every site: linears of one site see the same tensor."""
    sums: dict[tuple[int, str], SiteSums] = {}
    hooks = []
    for key, members in groupby(family.linears(layers), key=lambda one: (one.layer, one.site)):
        linears = list(members)
        sums[key] = sums_of(linears)
        module = model.get_submodule(linears[0].name)
        hooks.append(module.register_forward_pre_hook(_adding_hook(sums[key])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _adding_hook(sums: SiteSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sums.add(arguments[0])

    return hook


@contextmanager
def _record_sublayers(
    model: nn.Module, family: Family, layers: list[int], place: Position
) -> Iterator[dict[int, CosineSums]]:
    """Hook the input of every layer and the output of each of its sublayers."""
    sums: dict[int, CosineSums] = {}
    hooks = []
    for layer in layers:
        module = model.get_submodule(f"{family.layers}.{layer}")
        sums[layer] = CosineSums(layer, family.sublayers, place, parallel=family.parallel)
        hooks.append(
            module.register_forward_pre_hook(_entering_hook(sums[layer]), with_kwargs=True)
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


def _entering_hook(sums: CosineSums) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        sums.enter(arguments[0] if arguments else named["hidden_states"])

    return hook


def _take_output(take: Any, name: str, _module: Any, _inputs: Any, output: Any) -> None:
    # Attention returns its weights beside its output.
    take(name, output[0] if isinstance(output, tuple) else output)
