"""What the presets of papers need, as `rankwise plan` counts it from the models' configurations alone.

    python bench/job_resources.py          writes blocks of docs/papers.md and docs/cluster.md

No weights and no network: sizes of the models are their published ones. GPU memory and main memory are
those of the largest job; work is forward and backward passes and sums, without what decomposers take, which only a
probe of the machine tells; hours are that work at the rate named below, about half of what an A100 is sold with.
The second block is a study of LLaMA-2-70B on eight nodes of one GPU, stage by stage.
"""

import json
import tempfile
from pathlib import Path

from document import ROOT, fill
from ruamel.yaml import YAML
from transformers import LlamaConfig, MistralConfig

from rankwise.commands.init import PRESETS, with_settings
from rankwise.planning.machine import Room, libraries
from rankwise.planning.plan import Plan, plan
from rankwise.planning.sizes import Sizes
from rankwise.validation.params import load_params

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
    "llama2-70b": LlamaConfig(
        architectures=["LlamaForCausalLM"], hidden_size=8192, intermediate_size=28672,
        num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8,
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
LARGE, NODES = "llama2-70b", 8
DISK = 1e9
"""Of a node, to and from the shared file system [bytes/s]."""
SEARCH = {"trials": 24, "q": 8}
ON_NODES = (
    "prepare.model.layers=80", "covariance={pools: 8, batch: 1, streaming: true, shards: 8}",
    "decompose={whitened_svd: {}, pooled_pca: {}}",
    f"allocate={json.dumps({'uniform': {}, 'hyperopt': SEARCH})}",
    """runs={
      svd-llm-80: {decompose: whitened_svd, allocate: uniform, keep: 0.8},
      svd-llm-60: {decompose: whitened_svd, allocate: uniform, keep: 0.6},
      bolaco-80: {decompose: pooled_pca, allocate: hyperopt, keep: 0.8},
      bolaco-60: {decompose: pooled_pca, allocate: hyperopt, keep: 0.6}}""",
    "speed.batches=[]", "compute={device: cuda, threads: 8, layers_per_job: 2}",
)  # fmt: skip
"""Settings of the study of the large model, beside those of the preset svd-llm."""


def pinned(model: str) -> str:
    """Return the setting of the pinned model."""
    return f"prepare.model={json.dumps(YAML(typ='safe').load(PRESETS / f'models/{model}.yaml'))}"


def planned(preset: str, model: str, base: int, *settings: str) -> Plan:
    """Plan a preset for one of the models, on a machine that has everything."""
    with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
        folder = Path(name)
        MODELS[model].save_pretrained(folder)
        text = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")
        text = with_settings(text, list(settings))
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
        found = planned(preset, model, base, pinned(model))
        flops = sum(stage.flops for stage in found.stages)
        scratch = max(stage.scratch_mib for stage in found.stages)
        memory = (found.gpu_mib, found.memory_mib, found.disk_mib, scratch)
        gib = " | ".join(f"{mib / 1024:,.0f}" for mib in memory)
        lines.append(
            f"| `{preset}` | `{model}` | {gib} | {flops / 1e15:,.0f} | {flops / RATE / 3600:.1f} |"
        )
    fill(ROOT / "docs/papers.md", "resources", "\n".join(lines))
    fill(ROOT / "docs/cluster.md", "nodes", on_nodes(planned("svd-llm", LARGE, base, *ON_NODES)))


def on_nodes(found: Plan) -> str:
    """Return the table of the large model's study, stage by stage."""
    lines = [
        "| stage | jobs | in waves | main memory, GB | GPU memory, GB | left on disk, GB | read and written, GB | work, PFLOP | hours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    total = 0.0
    for stage in found.stages:
        at_once = min(NODES, stage.jobs)
        moved = stage.moved_mib * 2**20
        hours = (stage.flops / RATE + moved / DISK) / at_once / 3600
        total += hours
        memory = (stage.memory_mib, stage.gpu_mib, stage.disk_mib, stage.moved_mib)
        gib = " | ".join(f"{mib / 1024:,.0f}" for mib in memory)
        lines.append(
            f"| {stage.stage} | {stage.jobs} | {-(-stage.jobs // NODES)} | {gib} "
            f"| {stage.flops / 1e15:,.0f} | {hours:.1f} |"
        )
    lines.append(f"| *together* | | | | | {found.disk_mib / 1024:,.0f} | | | {total:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
