"""Tiny random models of every family: one place says what they look like."""

from pathlib import Path

import torch
import transformers

from rankwise.hub.experts import separate
from rankwise.inputs.sources import MODEL_FILES, hash_files
from rankwise.model.families import families, family_of
from rankwise.model.family import Family
from rankwise.records.model import ModelManifest

VOCABULARY = 67
"""Tokens of the tests' texts; some tokenizer classes add their own."""
LAYERS = [0, 1]
CPU = torch.device("cpu")
SIZES = {
    "vocab_size": VOCABULARY + 5,
    "hidden_size": 32,
    "intermediate_size": 56,
    "ffn_dim": 56,
    "word_embed_proj_dim": 32,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "max_position_embeddings": 64,
    "sliding_window": 8,
    "initializer_range": 0.2,
    "init_std": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
"""What a configuration is given of the keys that it knows: one that it does not may mean something to others, as
``sliding_window`` does to the cache."""
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "untied": ("LlamaForCausalLM", {"tie_word_embeddings": False}),
    "tied": ("LlamaForCausalLM", {"tie_word_embeddings": True}),
    "multi-head": ("LlamaForCausalLM", {"num_key_value_heads": 4}),
    "biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "projected": ("OPTForCausalLM", {"word_embed_proj_dim": 20}),
    "tied neox": ("GPTNeoXForCausalLM", {"tie_word_embeddings": True}),
    "local and global": (
        "Gemma3ForCausalLM",
        {"layer_types": ["sliding_attention", "full_attention"]},
    ),
}
"""Settings that change a model's form without changing its family."""


def cases() -> dict[str, tuple[str, dict[str, object]]]:
    """Return every architecture of every family file, under its conditions, and the variants."""
    found = {
        f"{file}-{architecture}": (architecture, dict(family.when))
        for file, family in families().items()
        for architecture in family.architectures
    }
    return found | VARIANTS


def tiny(case: str) -> tuple[torch.nn.Module, Family]:
    """Return a random model in float32, as the library makes it, and its family."""
    architecture, changes = cases()[case]
    made = getattr(transformers, architecture)
    default = made.config_class()
    sizes = {key: value for key, value in SIZES.items() if hasattr(default, key)}
    config = made.config_class(**(sizes | changes), architectures=[architecture])
    torch.manual_seed(0)
    model = made(config).eval()
    for name, parameter in model.named_parameters():
        # Some are zeros or ones to begin with, which would hide a mistake.
        if parameter.ndim == 1 or not parameter.any():
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.1)
    return model, family_of(architecture, lambda key: getattr(config, key, None))


def written(folder: Path, model: torch.nn.Module, family: Family) -> ModelManifest:
    """Write a model and return what the stage prepare says of it; the tokenizer is there already."""
    model.save_pretrained(folder)
    return ModelManifest(
        source=str(folder),
        revision=None,
        dtype="float32",
        architecture=type(model).__name__,
        family=family,
        layers=2,
        parameters=model.num_parameters(),
        files=hash_files(folder, MODEL_FILES),
    )


def separated(case: str) -> tuple[torch.nn.Module, Family]:
    """Return the same with a linear for every expert, as rankwise works with it."""
    model, family = tiny(case)
    separate(model, family.fused(LAYERS))
    return model, family


def ids(sequences: int = 8, length: int = 16) -> torch.Tensor:
    """Return token ids [sequences, length] that are no special tokens."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, VOCABULARY, (sequences, length), generator=generator)
