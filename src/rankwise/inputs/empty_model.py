"""A model without weights: its parameters are on the meta device."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwise.records.model import ModelManifest
from rankwise.inputs.refusals import explain_refusal


def build_empty_model(config: Any, dtype: Any = None) -> Any:
    """Return the causal language model of a configuration, with parameters on the meta device.

    Buffers that no file holds, such as rotary frequencies, are computed. Raises RankwiseError if the
    library cannot build a model from the configuration.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    where = f"config.json of a {type(config).__name__.removesuffix('Config')} model"
    with explain_refusal(where), init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()  # the constructor created every parameter separately
    return model


def build_empty_dense(manifest: "ModelManifest", folder: Path, dtype: Any = None) -> Any:
    """Return the dense model of a manifest without weights, its experts separated; reads only the configuration."""
    from transformers import AutoConfig

    from rankwise.hub.experts import separate

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = build_empty_model(config, dtype)
    separate(model, manifest.family.fused(range(manifest.layers)))
    return model
