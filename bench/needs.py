"""What the presets of papers need, as `rankwise plan` counts it from the models' configurations alone.

    python bench/needs.py          writes a block of docs/papers.md

No weights and no network: sizes of the four models are their published ones. GPU memory and main memory are
those of the largest job; work is forward and backward passes and sums, without what decomposers take, which only a
probe of the machine tells; hours are that work at the rate named below, about half of what an A100 is sold with.
"""

import json
import tempfile
from pathlib import Path

from document import ROOT, fill
from ruamel.yaml import YAML
from transformers import LlamaConfig, MistralConfig

from rankwise.planning.machine import Room, libraries
from rankwise.planning.plan import Plan, plan
from rankwise.planning.sizes import Sizes
from rankwise.study import PRESETS, with_settings
from rankwise.validation import load_params

MODELS = {
    "llama2-7b": LlamaConfig(architectures=["LlamaForCausalLM"]),
    "llama2-13b": LlamaConfig(
        architectures=["LlamaForCausalLM"], hidden_size=5120, intermediate_size=13824,
        num_hidden_layers=40, num_attention_heads=40,
    ),
    "llama3-8b": LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=128256, intermediate_size=14336,
        num_key_value_heads=8,
    ),
    "mistral-7b": MistralConfig(architectures=["MistralForCausalLM"]),
}  # fmt: skip
STUDIES = (
    ("bolaco", "llama2-7b"),
    ("bolaco", "llama2-13b"),
    ("cap", "llama3-8b"),
    ("svd-llm", "llama2-7b"),
    ("svd-llm", "mistral-7b"),
)
RATE = 150e12
"""Of a GPU [FLOP/s]."""


def planned(preset: str, model: str, base: int) -> Plan:
    """Plan a preset for one of the models, on a machine that has everything."""
    with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
        folder = Path(name)
        MODELS[model].save_pretrained(folder)
        pinned = YAML(typ="safe").load(PRESETS / f"models/{model}.yaml")
        keys = [f"prepare.model={json.dumps(pinned)}"]
        text = with_settings((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8"), keys)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        params = load_params(folder / "params.yaml")
        sizes = Sizes.of(params, folder)
        return plan(params, sizes, Room(2**60, 2**60, 2**60), base)


def main() -> None:
    base = libraries()
    lines = [
        "| preset | model | GPU memory, GB | main memory, GB | disk, GB | while it runs, GB | work, PFLOP | hours at 150 TFLOP/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for preset, model in STUDIES:
        found = planned(preset, model, base)
        flops = sum(stage.flops for stage in found.stages)
        scratch = max(stage.scratch_mib for stage in found.stages)
        memory = (found.gpu_mib, found.memory_mib, found.disk_mib, scratch)
        gib = " | ".join(f"{mib / 1024:,.0f}" for mib in memory)
        lines.append(
            f"| `{preset}` | `{model}` | {gib} | {flops / 1e15:,.0f} | {flops / RATE / 3600:.1f} |"
        )
    fill(ROOT / "docs/papers.md", "needs", "\n".join(lines))


if __name__ == "__main__":
    main()
