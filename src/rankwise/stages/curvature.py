"""Stage curvature: gradients of the loss at every linear's output, one backward pass."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

log = logging.getLogger("rankwise.curvature")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    work: Annotated[Path, typer.Option(help="Folder of a streamed pass, so that it can go on.")],
    out: Annotated[list[Path], typer.Option(help="File of one block of layers, in order; repeat.")],
) -> None:
    """Run a model forward and backward over the calibration text and keep its gradients' moments."""
    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint import loading as checkpoints
    from rankwise.inputs.sources import check, model_folder
    from rankwise.model.device import set_up
    from rankwise.model.weights import Weights
    from rankwise.params.section import read_section
    from rankwise.params.stages import Compute, CurvatureParams
    from rankwise.records.inputs import ModelManifest
    from rankwise.statistics.fisher import gather
    from rankwise.statistics.resumable import to_files
    from rankwise.statistics.streamed_fisher import stream_gradients

    asked = read_section(params, CurvatureParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    ids = Tokens.load(tokens).ids.long()
    if asked.streaming:
        dense = ModelManifest.load(checkpoint)
        to_files(stream_gradients, dense, ids, (asked, where), work, out)
    else:
        loaded = checkpoints.load(checkpoint, set_up(where)).model
        folder = model_folder(manifest.source, manifest.revision)
        check(folder, manifest.files, "prepare.model")
        weight_of = Weights(folder, manifest.family).get
        blocks = where.blocks(manifest.layers)
        found = gather(loaded, manifest.family, weight_of, ids, blocks, asked)
        for path, block in zip(out, found, strict=True):
            block.save(path)
    log.info("%d layers, %d tokens", manifest.layers, ids.numel())
