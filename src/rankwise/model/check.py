"""Check that a family's description fits a model: every module exists, and every weight is named."""

from typing import Any

from torch import nn

from rankwise.errors import RankwiseError
from rankwise.hub.experts import separate
from rankwise.model.family import Family
from rankwise.model.shapes import shape_of
from rankwise.model.weights import Weights


def check_family(family: Family, model: nn.Module, weights: Weights, layers: int) -> None:
    """Compare a family with a model (on the meta device) and with its weight files.

    The check also separates the experts of ``model``, in place. Raises RankwiseError that names the
    wrong key of the family.
    """
    what = f"the family of {type(model).__name__}"
    decoder_layers: Any = _find_module(model, family.layers, f"{what}: layers")
    if len(decoder_layers) != layers:
        raise RankwiseError(
            f"{what}: layers: '{family.layers}' has {len(decoder_layers)} modules, the model {layers} decoder layers"
        )
    for name in family.fused(range(layers)):
        _find_module(model, name, f"{what}: sublayers")
    try:
        separate(model, family.fused(range(layers)))
    except ValueError as error:
        raise RankwiseError(
            f"{what}: {error}; rankwise does not know how to take these apart"
        ) from error
    named = set()
    for linear in family.linears(range(layers)):
        where = f"{what}: sublayers.{linear.sublayer}.sites.{linear.site}.{linear.kind}"
        module = _find_module(model, linear.name, where)
        named.add(linear.name)
        expected, stored = shape_of(module), weights.shape(linear.name)
        if expected != stored:
            raise RankwiseError(
                f"{where}: {linear.name} is {list(expected)} [out, in] in the model and {list(stored)} in its files; "
                "look at the family's 'transposed' and 'stored'"
            )
    for layer in range(layers):
        for key, sublayer in family.sublayers.items():
            path = sublayer.adds or sublayer.gives
            module_name = f"{family.layers}.{layer}.{path}"
            _find_module(
                model,
                module_name,
                f"{what}: sublayers.{key}.{'adds' if sublayer.adds else 'gives'}",
            )
        named |= {f"{family.layers}.{layer}.{path}" for path in family.dense}
    unnamed = [
        name.rpartition(".")[0]
        for name, parameter in model.named_parameters()
        if name.startswith(f"{family.layers}.")
        and parameter.ndim > 1
        and name.rpartition(".")[0] not in named
    ]
    if unnamed:
        raise RankwiseError(
            f"{what}: weight matrices of decoder layers that it does not name: {', '.join(unnamed[:3])}; "
            "put them into a site, or under 'dense' where they are not to be factored"
        )


def _find_module(model: nn.Module, name: str, where: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise RankwiseError(f"{where}: the model has no module '{name}'") from error
