"""A forward pass with a linear for every expert, beside the library's one tensor for all.

    python bench/experts.py

Two layers of width 256 with random weights, 8 windows of 128 tokens, one thread, float32; the two take
turns, medians of 9.
"""

import copy
import statistics
import time

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from rankwise.hub.experts import separate

SIZES = {
    "hidden_size": 256,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 500,
}
REPEATS = 9


def main() -> None:
    """Print a row for few and for many experts."""
    torch.set_num_threads(1)
    ids = torch.randint(SIZES["vocab_size"], (8, 128), generator=torch.Generator().manual_seed(0))
    print("| experts, of them a token sees | library | apart | ratio |\n|---|---:|---:|---:|")
    for experts, seen in ((8, 2), (64, 8)):
        torch.manual_seed(0)
        config = Qwen3MoeConfig(**SIZES, num_experts=experts, num_experts_per_tok=seen)
        library = Qwen3MoeForCausalLM(config).eval()
        apart = copy.deepcopy(library)
        separate(apart, [f"model.layers.{layer}.mlp.experts" for layer in range(2)])
        taken: list[list[float]] = [[], []]
        for repeat in range(REPEATS + 1):
            for index in (0, 1) if repeat % 2 else (1, 0):
                taken[index].append(seconds((library, apart)[index], ids))
        a, b = (statistics.median(times[1:]) for times in taken)
        print(f"| {experts}, {seen} | {1000 * a:.0f} ms | {1000 * b:.0f} ms | {b / a:.2f} |")


@torch.no_grad()
def seconds(model: torch.nn.Module, ids: torch.Tensor) -> float:
    """Time one pass."""
    began = time.perf_counter()
    model(ids)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
