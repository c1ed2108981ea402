"""How far compressed models are from the dense one, where their losses differ by less than their noise.

    python bench/divergence.py FOLDER      after bench/methods.py; bench/table.py shows what it finds

Mean KL(dense ‖ compressed) per token [nats] and the standard error of the loss above dense over windows,
on the first windows of each study's test text, for the methods of `table.SHOWN`. Written to
FOLDER/divergence.json; what stands there already is not measured again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from methods import percent
from table import KEEPS, MODELS, SHOWN, Results
from torch.nn import functional

from rankwise.artifacts.tokens import Tokens
from rankwise.checkpoint.loading import load_model
from rankwise.files.atomic import write_json

TOKENS = 8192
"""How much of the test text is read [tokens]."""
BATCH = 8


@torch.no_grad()
def compare(dense: Any, model: Any, ids: torch.Tensor) -> dict[str, float]:
    """Return KL and the paired standard error of the loss for windows ``ids`` [windows, length]."""
    divergence, losses = 0.0, []
    for part in ids.split(BATCH):
        theirs, ours = (
            m(part, use_cache=False).logits[:, :-1].float().log_softmax(-1) for m in (dense, model)
        )
        divergence += float(functional.kl_div(ours, theirs, reduction="sum", log_target=True))
        wanted = part[:, 1:, None]
        losses.append((theirs - ours).gather(-1, wanted).double().mean((1, 2)))
    difference = torch.cat(losses)
    return {
        "kl": divergence / ids[:, 1:].numel(),
        "excess": float(difference.mean()),
        "standard_error": float(difference.std() / len(difference) ** 0.5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of bench/methods.py")
    folder = parser.parse_args().folder
    path = folder / "divergence.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for model in MODELS:
        for study in Results(folder, model).studies:
            ids = Tokens.load(study / "data/sample/test.safetensors").ids.long()
            ids = ids[: TOKENS // ids.shape[1]]
            dense = load_model(study / "data/prepare/model.json").model
            for name in (f"{name}-{percent(keep)}" for keep in KEEPS for name in SHOWN):
                manifest = study / f"data/checkpoints/{name}.json"
                key = f"{study.name}/{name}"
                if manifest.is_file() and key not in found:
                    found[key] = compare(dense, load_model(manifest).model, ids)
                    write_json(path, found)


if __name__ == "__main__":
    main()
