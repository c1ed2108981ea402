"""Targets that no compression can meet, found before anything is computed where the model is at hand."""

import math
from pathlib import Path

from rankwise.decompose import Decomposer
from rankwise.errors import RankwiseError
from rankwise.files import read_json
from rankwise.models import family_of
from rankwise.params import Params
from rankwise.runs import CompressedRun
from rankwise.sources import model_folder
from rankwise.weight_files import NAMES, Stored, checkpoint_bytes, header


def impossible(params: Params, decomposers: dict[str, Decomposer]) -> list[str]:
    """Return a sentence for every target above the dense model or below what stays dense.

    Reads configuration and headers of the model's files. Of a model that is not on this machine yet
    nothing is said: the stage allocate looks at the budget again.
    """
    runs = {n: run for n, run in params.compressions().items() if run.target.kind != "keep"}
    if not runs:
        return []
    given = params.prepare.model
    try:
        folder = model_folder(given.source, given.revision)
    except RankwiseError:  # said by the stage prepare, which may also fetch it
        return []
    config = read_json(folder / "config.json")
    tensors = _tensors(folder, config, NAMES[params.build.dtype or given.dtype])
    linears = family_of(config["architectures"][0]).linears(list(range(given.layers)))
    problems = []
    for name, run in runs.items():
        left_dense = getattr(decomposers.get(run.decompose), "dense", ())
        factored = {linear.name for linear in linears if linear.kind not in left_dense}
        stays = [t for t in tensors if t.name.rpartition(".")[0] not in factored]
        problems += _problems(name, run, tensors, stays)
    return problems


def _tensors(folder: Path, config: dict[str, object], dtype: str) -> list[Stored]:
    """Return the tensors of a model's files in the type of the checkpoint, a tied head left out."""
    found = [tensor for path in sorted(folder.glob("*.safetensors")) for tensor in header(path)]
    tied = {"lm_head.weight"} if config.get("tie_word_embeddings") else set()
    return [Stored(t.name, dtype, t.shape) for t in found if t.name not in tied]


def _problems(
    name: str, run: CompressedRun, tensors: list[Stored], stays: list[Stored]
) -> list[str]:
    """Return what is wrong with a target, given the dense model and what of it stays as it is."""
    target = run.target
    if target.kind == "total_params":
        most, least = (sum(math.prod(t.shape) for t in some) for some in (tensors, stays))
    else:
        most, least = checkpoint_bytes(tensors), sum(t.nbytes for t in stays)
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
