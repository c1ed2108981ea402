"""Statistics of every site and sublayer, gathered in one pass over the calibration tokens."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rankwise.artifacts import BlockStatistics
from rankwise.errors import RankwiseError
from rankwise.family import Family, Linear
from rankwise.layers import shape_of
from rankwise.moments import Moments
from rankwise.params import CovarianceParams
from rankwise.sums import CosineSums, Place, SiteSums

log = logging.getLogger("rankwise.covariance")


def gather(
    model: Any,
    family: Family,
    weight_of: Callable[[str], Tensor],
    ids: Tensor,
    blocks: list[list[int]],
    asked: CovarianceParams,
) -> list[BlockStatistics]:
    """Return the statistics of every site and sublayer, one `BlockStatistics` per block of layers.

    ``ids`` [sequences, length]; the sequences form ``asked.pools`` groups of equal size, in order, and
    a batch never crosses a group. Where ``asked.moments`` is the smaller side, a site whose linears'
    outputs are smaller than its input (the sum of out² than in²) has those gathered instead: of
    y = W x, W the dense model's weight [out, in] that ``weight_of`` gives by name; the model may be a
    compressed one. Cost: one forward pass over the tokens and, per site of width d, at most d²
    multiplications a token and 8·d² bytes.
    """
    per_pool = len(ids) // asked.pools
    if per_pool * asked.pools != len(ids) or not per_pool:
        raise RankwiseError(
            f"{len(ids)} calibration sequences do not form {asked.pools} equal pools; "
            "change covariance.pools or sample.calibration.sequences"
        )
    layers = [layer for block in blocks for layer in block]
    place = Place(asked.pools, model.device)
    sums_of = partial(_sums, model, weight_of, asked.gathered, place)
    with (
        _recording(model, family, layers, sums_of) as sums,
        _comparing(model, family, layers, place) as cosines,
        torch.no_grad(),
    ):
        for pool in tqdm(range(asked.pools), "pools", disable=None):
            for begin in range(0, per_pool, asked.batch):
                place.pool, place.sequence = pool, pool * per_pool + begin
                end = pool * per_pool + min(begin + asked.batch, per_pool)
                # The decoder alone: the head's logits are of no use here.
                model.get_decoder()(ids[place.sequence : end].to(model.device), use_cache=False)
    found = [
        BlockStatistics(
            block,
            {key: s.statistics() for key, s in sums.items() if key[0] in block},
            {key: total for layer in block for key, total in cosines[layer].sums().items()},
            {
                n: y.cpu()
                for key, s in sums.items()
                if key[0] in block
                for n, y in s.outputs.items()
            },
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


def _sums(
    model: nn.Module,
    weight_of: Callable[[str], Tensor],
    moments: Moments,
    place: Place,
    linears: list[Linear],
) -> SiteSums:
    """Return the sums that are asked of one site, given its linears."""
    _, width = shape_of(model.get_submodule(linears[0].name))
    weights: dict[str, Tensor] = {}
    if moments == Moments.SMALLER:
        found = {linear.name: weight_of(linear.name).detach() for linear in linears}
        if sum(len(weight) ** 2 for weight in found.values()) < width**2:
            weights = {name: weight.to(place.device) for name, weight in found.items()}
    whole = moments > Moments.CHANNELS and not weights
    at = linears[0].layer, linears[0].site
    return SiteSums(*at, width, place, whole=whole, weights=weights)


@contextmanager
def _recording(
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
    model: nn.Module, family: Family, layers: list[int], place: Place
) -> Iterator[dict[int, CosineSums]]:
    """Hook the input of every layer and the output of each of its sublayers."""
    sums: dict[int, CosineSums] = {}
    hooks = []
    for layer in layers:
        block = model.get_submodule(f"{family.layers}.{layer}")
        sums[layer] = CosineSums(layer, family.sublayers, place, parallel=family.parallel)
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
