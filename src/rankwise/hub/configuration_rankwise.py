"""The configuration of a checkpoint: that of the original model, with a section on its factored linears."""

from functools import cache
from typing import Any

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .checks import checked_section

AUTO_MAP = {
    "AutoConfig": "configuration_rankwise.RankwiseConfig",
    "AutoModelForCausalLM": "modeling_rankwise.RankwiseForCausalLM",
}
"""Where transformers finds the code that travels, as ``config.json`` says it."""


class RankwiseConfig(PreTrainedConfig):
    """Configuration with ``model_type: rankwise``, so that whoever does not know the format refuses it.

    An instance is always of a subclass made of this class and of the original model's configuration
    class, so it has that one's fields, defaults and checks. Its key ``rankwise`` holds ``schema``,
    ``version``, ``run``, ``model_type`` and ``architecture`` of the original model, ``experts``: modules
    whose experts are linears of their own (`experts.Experts`), and ``linears``: module name → shape [out, in], rank, bias, and entries and format of a sparse part.
    """

    model_type = "rankwise"
    rankwise: dict | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Return the configuration of what ``config.json`` holds; refuses a section that it cannot read."""
        if cls is not RankwiseConfig:
            return super().from_dict(config_dict, **kwargs)
        section = checked_section(config_dict.get("rankwise"), CONFIG_MAPPING)
        return config_class(CONFIG_MAPPING[section["model_type"]]).from_dict(config_dict, **kwargs)


@cache
def config_class(original: type[PreTrainedConfig]) -> type[RankwiseConfig]:
    """Return the subclass for models with this configuration class, known to AutoModelForCausalLM."""
    from transformers import AutoModelForCausalLM

    from .modeling_rankwise import RankwiseForCausalLM

    own = {"model_type": RankwiseConfig.model_type, "_auto_class": "AutoConfig"}
    found = type("RankwiseConfig", (RankwiseConfig, original), own | {"__module__": __name__})
    AutoModelForCausalLM.register(found, RankwiseForCausalLM, exist_ok=True)
    return found


def original_class(config: type[RankwiseConfig]) -> type[PreTrainedConfig]:
    """Return the configuration class of the model that was compressed."""
    return next(
        base
        for base in config.__mro__
        if issubclass(base, PreTrainedConfig) and not issubclass(base, RankwiseConfig)
    )
