"""Stage curvature: gradients of the loss at every linear's output, one backward pass."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

log = logging.getLogger("rankwise.curvature")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    out: Annotated[list[Path], typer.Option(help="File of one block of layers, in order; repeat.")],
) -> None:
    """Run a model forward and backward over the calibration text and keep its gradients' moments."""
    from rankwise import checkpoint as checkpoints
    from rankwise.artifacts import Tokens
    from rankwise.compute import set_up
    from rankwise.curvature import gather
    from rankwise.params import Compute, CurvatureParams
    from rankwise.records import ModelManifest
    from rankwise.sections import read_section
    from rankwise.sources import check, model_folder
    from rankwise.weights import Weights

    asked = read_section(params, CurvatureParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    loaded = checkpoints.load(checkpoint, set_up(where))
    folder = model_folder(manifest.source, manifest.revision)
    check(folder, manifest.files, "prepare.model")
    weights = Weights(folder, manifest.family)
    found = gather(
        loaded.model,
        manifest.family,
        weights.get,
        Tokens.load(tokens).ids.long(),
        where.blocks(manifest.layers),
        asked,
    )
    for path, block in zip(out, found, strict=True):
        block.save(path)
    log.info("%s: %d layers", loaded.run, manifest.layers)
