"""The model of a checkpoint: the original architecture with factored linears in place of dense ones."""

from functools import cache
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from .checks import CheckpointError, check_folder, refuse_unfilled
from .configuration_rankwise import RankwiseConfig, original_class
from .experts import separate
from .linears import LowRankLinear, LowRankSparseLinear


class RankwiseForCausalLM:
    """What AutoModelForCausalLM finds; models are of a subclass of the original architecture's class.

    So ``generate``, caches, device maps, adapters and whatever else transformers does with that
    architecture work as they do on the original.
    """

    config_class = RankwiseConfig

    @classmethod
    def from_pretrained(cls, path: Any, *arguments: Any, **named: Any) -> Any:
        """Return the model of a checkpoint; refuses files that are not whole or do not fit each other."""
        config = named.pop("config", None) or RankwiseConfig.from_pretrained(path)
        return _class_of(config).from_pretrained(path, *arguments, config=config, **named)

    @classmethod
    def _from_config(cls, config: RankwiseConfig, **named: Any) -> Any:
        return _class_of(config)._from_config(config, **named)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModelForCausalLM") -> None:
        """Do nothing: the classes of models say so themselves."""


class _Factored:
    """What such a class does before the original architecture's."""

    def __init__(self, config: RankwiseConfig, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)  # type: ignore[call-arg]
        install(self, config.rankwise or {})

    @classmethod
    def from_pretrained(
        cls, path: Any, *arguments: Any, output_loading_info: bool = False, **named: Any
    ) -> Any:
        """Load with the original class's method, once the files are known to be whole; fill every tensor."""
        if Path(path).is_dir():
            check_folder(Path(path) / named.get("subfolder", ""))
        named |= {"use_safetensors": True, "output_loading_info": True}
        model, info = super().from_pretrained(path, *arguments, **named)  # type: ignore[misc]
        refuse_unfilled(path, info)
        return (model, info) if output_loading_info else model


@cache
def model_class(config: type[RankwiseConfig]) -> type[PreTrainedModel]:
    """Return the class of models with such a configuration."""
    original = AutoModelForCausalLM._model_mapping[original_class(config)]
    own = {"config_class": config, "_auto_class": "AutoModelForCausalLM", "__module__": __name__}
    return type("RankwiseForCausalLM", (_Factored, original), own)


def _class_of(config: RankwiseConfig) -> Any:
    return model_class(type(config))  # type: ignore[arg-type]  # a class has a hash, its instances not


def install(model: Any, section: dict[str, Any]) -> None:
    """Take experts apart and put empty factored linears where the section says."""
    try:
        separate(model, section["experts"])
        for name, said in section["linears"].items():
            model.set_submodule(name, factored(said))
    except (AttributeError, ValueError) as error:
        raise CheckpointError(f"config.json, rankwise, does not fit the model: {error}") from error


def factored(said: dict[str, Any]) -> nn.Module:
    """Return an empty factored linear as the section ``rankwise.linears`` describes it."""
    out, columns = said["shape"]
    sizes = columns, out, said["rank"]
    if said.get("entries"):
        return LowRankSparseLinear(*sizes, entries=said["entries"], bias=said["bias"])
    return LowRankLinear(*sizes, bias=said["bias"])
