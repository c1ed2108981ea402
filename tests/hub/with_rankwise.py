"""Run in a process of its own: opens checkpoints by transformers' Auto classes, with `import rankwise`."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import rankwise  # noqa: F401

PAD = 2


@torch.no_grad()
def facts(folder: Path, out: Path) -> dict[str, object]:
    """What comes of one folder; tensors as lists."""
    ids = torch.tensor(json.loads((folder.parent / "ids.json").read_text()))
    model = AutoModelForCausalLM.from_pretrained(folder)
    found: dict[str, object] = {
        "class": type(model).__name__,
        "logits": model(ids).logits.flatten().tolist(),
        "said": str(model.config.dtype),
    }
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    found["dtypes"] = sorted({str(p.dtype) for p in half.parameters()})
    for name, options in {
        "cpu": {"device_map": "cpu"},
        "auto": {"device_map": "auto"},
        "low memory": {"low_cpu_mem_usage": True},
        "eager": {"attn_implementation": "eager"},
    }.items():
        other = AutoModelForCausalLM.from_pretrained(folder, **options)
        found[name] = other(ids).logits.flatten().tolist()
    greedy = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": PAD}
    made = model.generate(ids[:1], **greedy)
    found["greedy"] = made.tolist()
    found["without cache"] = model.generate(ids[:1], use_cache=False, **greedy).tolist()
    padded = torch.cat([torch.full((1, 4), PAD), ids[:1]], 1)
    batch = torch.cat([padded, torch.cat([ids[1:2], ids[1:2, :4]], 1)])
    mask = torch.ones_like(batch)
    mask[0, :4] = 0
    found["padded"] = model.generate(batch, attention_mask=mask, **greedy)[:1, 4:].tolist()
    torch.manual_seed(0)
    sampled = model.generate(
        ids, max_new_tokens=5, min_new_tokens=5, do_sample=True, pad_token_id=PAD
    )
    found["sampled"] = list(sampled.shape)
    model.save_pretrained(out / "again")
    found["files"] = sorted(path.name for path in (out / "again").iterdir())
    again = AutoModelForCausalLM.from_pretrained(out / "again")
    found["again"] = again(ids).logits.flatten().tolist()
    compiled = torch.compile(model, backend="aot_eager")
    found["compiled"] = compiled(ids).logits.flatten().tolist()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place in sys.argv[2:]:
        written = Path(sys.argv[1]) / Path(place).parents[2].name
        result = facts(Path(place), written)
        (written / "facts.json").write_text(json.dumps(result))
