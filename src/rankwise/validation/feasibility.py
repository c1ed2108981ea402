"""Targets that no compression can meet, found before anything is computed where the model is at hand."""

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
from rankwise.inputs.architecture import read_model_config
from rankwise.inputs.sources import model_folder
from rankwise.model.families import FAMILIES
from rankwise.params.runs import CompressedRun
from rankwise.params.stages import Params


def find_impossible_targets(params: Params, decomposers: dict[str, Decomposer]) -> list[str]:
    """Return a sentence for every target above the dense model or below what stays dense.

    Reads configuration and headers of the model's files. Of a model that is not on this machine yet
    nothing is said: the stage allocate looks at the budget again.
    """
    runs = {n: run for n, run in params.compressions().items() if run.target.kind != "keep"}
    if not runs:
        return []
    from rankwise.model.weights import Weights

    given = params.prepare.model
    try:
        folder = model_folder(given.source, given.revision)
    except RankwiseError:  # said by the stage prepare, which may also fetch it
        return []
    config, _, family = read_model_config(folder, FAMILIES)
    tensors = _tensors(folder, config, NAMES[params.build.dtype or given.dtype])
    weights, linears = Weights(folder, family), family.linears(range(config.num_hidden_layers))
    problems = []
    for name, run in runs.items():
        left_dense = getattr(decomposers.get(run.decompose), "dense", ())
        factored = [linear.name for linear in linears if linear.kind not in left_dense]
        problems += _problems(name, run, tensors, sum(weights.numbers(x) for x in factored))
    return problems


def _tensors(folder: Path, config: Any, dtype: str) -> list[StoredTensor]:
    """Return the tensors of a model's files in the type of the checkpoint, a tied head left out."""
    found = [
        tensor for path in sorted(folder.glob("*.safetensors")) for tensor in read_header(path)
    ]
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return [StoredTensor(t.name, dtype, t.shape) for t in found if t.name not in tied]


def _problems(
    name: str, run: CompressedRun, tensors: list[StoredTensor], factored: int
) -> list[str]:
    """Return what is wrong with a target, given the dense model and the numbers that may be factored."""
    target = run.target
    if target.kind == "total_params":
        most = sum(math.prod(t.shape) for t in tensors)
        least = most - factored
    else:
        most = checkpoint_bytes(tensors)
        least = sum(t.nbytes for t in tensors) - factored * SIZES[tensors[0].dtype]
    where, asked = f"runs.{name}.{target.kind}", target.shown(target.value)
    if target.value > most:
        return [
            f"{where}: {asked} asked, the dense model has {target.shown(most)}; give that or less"
        ]
    if target.value <= least:
        return [
            f"{where}: {asked} asked, what stays dense alone has {target.shown(least)}; give more than that"
        ]
    return []
