"""A model folder's configuration, the family that fits it, and the model without weights."""

from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.family import Family
from rankwise.files import read_json
from rankwise.hub.checks import CheckpointError, refuse_switches
from rankwise.models import family_of, known


def described(folder: Path, own: Path | None = None) -> tuple[Any, str, Family]:
    """Return the configuration with the library's defaults filled in, the architecture and its family.

    Families in the folder ``own`` come before those of the package.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise RankwiseError(
            f"prepare.model.source: {folder} has no config.json; it is not a model folder"
        )
    given = read_json(folder / "config.json")
    named = given.get("architectures") if isinstance(given, dict) else None
    architecture = str(named[0]) if isinstance(named, list) and named else "(none)"
    try:
        refuse_switches(given, f"{folder}/config.json")
    except CheckpointError as error:
        raise RankwiseError(f"prepare.model.source: {error}") from error
    own = own if own is not None and own.is_dir() else None
    known(architecture, own)  # refuses more clearly than the library what neither knows
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise RankwiseError(
            f"{folder}/config.json: transformers does not read it: {str(error).splitlines()[0]}"
        ) from error
    family = family_of(architecture, lambda key: getattr(config, key, None), own)
    return config, architecture, family


def empty_model(config: Any, dtype: Any = None) -> Any:
    """Return the causal language model of a configuration, its parameters on the meta device.

    Buffers that no file holds, such as rotary frequencies, are computed.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()  # every parameter was made anew
    return model
