"""Check for targets that no compression can meet, before any stage runs, if the model is available."""

import math
from pathlib import Path
from typing import Any

from rankwise.checkpoint.weight_files import (
    NAMES,
    SIZES,
    StoredTensor,
    checkpoint_bytes,
    read_header,
)
from rankwise.decompose import Decomposer
from rankwise.errors import RankwiseError
from rankwise.inputs.model_config import read_model_config
from rankwise.inputs.sources import model_folder
from rankwise.model.families import FAMILIES
from rankwise.params.runs import CompressedRun
from rankwise.params.study import Params


def find_impossible_targets(params: Params, decomposers: dict[str, Decomposer]) -> list[str]:
    """Return a sentence for every target above the dense model or below what stays dense.

    Reads configuration and headers of the model's files. Returns nothing for a model that is not on this
    machine yet; the stage allocate checks the budget again.
    """
    runs = {n: run for n, run in params.compressions().items() if run.target.kind != "keep"}
    if not runs:
        return []
    from rankwise.model.weights import Weights

    model = params.prepare.model
    try:
        folder = model_folder(model.source, model.revision)
    except RankwiseError:  # the stage prepare reports it, or downloads the model
        return []
    config, _, family = read_model_config(folder, FAMILIES)
    tensors = _tensors(folder, config, NAMES[params.build.dtype or model.dtype])
    weights, linears = Weights(folder, family), family.linears(range(config.num_hidden_layers))
    problems = []
    for name, run in runs.items():
        unfactored = getattr(decomposers.get(run.decompose), "dense", ())
        factored = [linear.name for linear in linears if linear.kind not in unfactored]
        problems += _problems(name, run, tensors, sum(weights.numbers(x) for x in factored))
    return problems


def _tensors(folder: Path, config: Any, dtype: str) -> list[StoredTensor]:
    """Return the tensors of a model's files in the checkpoint's type, without a tied head."""
    stored = [
        tensor for path in sorted(folder.glob("*.safetensors")) for tensor in read_header(path)
    ]
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return [StoredTensor(t.name, dtype, t.shape) for t in stored if t.name not in tied]


def _problems(
    name: str, run: CompressedRun, tensors: list[StoredTensor], factored: int
) -> list[str]:
    """Return the problems of a target, given the dense tensors and the count of numbers in factored linears."""
    target = run.target
    if target.kind == "total_params":
        most = sum(math.prod(t.shape) for t in tensors)
        least = most - factored
    else:
        most = checkpoint_bytes(tensors)
        least = sum(t.nbytes for t in tensors) - factored * SIZES[tensors[0].dtype]
    where, shown = f"runs.{name}.{target.kind}", target.shown(target.value)
    if target.value > most:
        return [
            f"{where}: {shown} asked, the dense model has {target.shown(most)}; give that or less"
        ]
    if target.value <= least:
        return [
            f"{where}: {shown} asked, what stays dense alone has {target.shown(least)}; give more than that"
        ]
    return []
