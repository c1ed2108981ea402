"""The configuration of a model folder, and the family that fits it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwise.errors import RankwiseError
from rankwise.files.checksummed import read_json
from rankwise.hub.checks import CheckpointError, refuse_switches
from rankwise.model.families import families_of, family_of
from rankwise.model.family import Family

if TYPE_CHECKING:
    pass
from rankwise.inputs.refusals import explain_refusal


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
    with explain_refusal(f"{folder}/config.json"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    family = family_of(architecture, lambda key: getattr(config, key, None), own)
    return config, architecture, family
