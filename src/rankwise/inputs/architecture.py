"""The configuration of a model folder, its model family, and the model without weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwise.errors import RankwiseError, is_out_of_memory
from rankwise.files.checksummed import read_json
from rankwise.hub.checks import CheckpointError, refuse_switches
from rankwise.model.families import families_of, family_of
from rankwise.model.family import Family

if TYPE_CHECKING:
    from rankwise.records.inputs import ModelManifest


def read_model_config(folder: Path, own: Path | None = None) -> tuple[Any, str, Family]:
    """Return the configuration with the library's defaults filled in, the architecture and its family.

    Families in the folder ``own`` come before those of the package.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise RankwiseError(
            f"prepare.model.source: {folder} has no config.json; it is not a model folder"
        )
    config_json = read_json(folder / "config.json")
    named = config_json.get("architectures") if isinstance(config_json, dict) else None
    architecture = str(named[0]) if isinstance(named, list) and named else "(none)"
    try:
        refuse_switches(config_json, f"{folder}/config.json")
    except CheckpointError as error:
        raise RankwiseError(f"prepare.model.source: {error}") from error
    own = own if own is not None and own.is_dir() else None
    families_of(architecture, own)  # clearer error than the library's for an unknown architecture
    with _explain_refusal(f"{folder}/config.json"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    family = family_of(architecture, lambda key: getattr(config, key, None), own)
    return config, architecture, family


def read_tokenizer(folder: Path, config: Any = None) -> Any:
    """Return a model folder's tokenizer, using only the library's code; RankwiseError for a broken one."""
    from transformers import AutoTokenizer

    options = {} if config is None else {"config": config}
    with _explain_refusal(f"{folder}, its tokenizer"):
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )


def build_empty_model(config: Any, dtype: Any = None) -> Any:
    """Return the causal language model of a configuration, with parameters on the meta device.

    Buffers that no file holds, such as rotary frequencies, are computed. Raises RankwiseError if the
    library cannot build a model from the configuration.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    where = f"config.json of a {type(config).__name__.removesuffix('Config')} model"
    with _explain_refusal(where), init_empty_weights(include_buffers=False):
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


@contextmanager
def _explain_refusal(what: str) -> Iterator[None]:
    """Turn an error of transformers into a RankwiseError; it raises any type, even plain Exception."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())[:300]
        raise RankwiseError(
            f"{what}: transformers does not read it ({type(error).__name__}: {message}); "
            "get the model's files again from its author"
        ) from error
