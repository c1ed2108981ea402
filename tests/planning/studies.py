"""Parameters of a preset, and the configuration of LLaMA-2-7B, to plan from."""

from pathlib import Path

from transformers import LlamaConfig

from rankwise.commands.init import PRESETS, with_settings
from rankwise.params.study import Params
from rankwise.planning.machine import Room
from rankwise.validation.params import load_params

ROOMY = Room(2**50, 2**50, 2**50)


def params_of(folder: Path, preset: str, *settings: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(with_settings((PRESETS / f"{preset}.yaml").read_text(), list(settings)))
    return load_params(path)


def write_llama(folder: Path) -> None:
    """Write LLaMA-2-7B's config.json, and nothing else."""
    config = LlamaConfig(architectures=["LlamaForCausalLM"], max_position_embeddings=4096)
    config.save_pretrained(folder)
