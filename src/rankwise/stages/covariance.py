"""Stage covariance: pooled input statistics of every site, one pass, one file a block of layers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

log = logging.getLogger("rankwise.covariance")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    out: Annotated[list[Path], typer.Option(help="File of one block of layers, in order; repeat.")],
) -> None:
    """Run a model, dense or compressed, over the calibration text and keep the statistics of its inputs."""
    from rankwise import checkpoint as checkpoints
    from rankwise.artifacts import Tokens
    from rankwise.compute import set_up
    from rankwise.covariance import gather
    from rankwise.factoring import Weights
    from rankwise.models import family_of
    from rankwise.params import Compute, CovarianceParams
    from rankwise.records import ModelManifest
    from rankwise.sections import read_section
    from rankwise.sources import model_folder

    asked = read_section(params, CovarianceParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    loaded = checkpoints.load(checkpoint, set_up(where))
    ids = Tokens.load(tokens).ids.long()
    blocks = where.blocks(manifest.layers)
    weights = Weights(model_folder(manifest.source, manifest.revision))
    found = gather(
        loaded.model,
        family_of(manifest.architecture),
        lambda name: weights.get(f"{name}.weight"),
        ids,
        blocks,
        asked,
    )
    for path, block in zip(out, found, strict=True):
        block.save(path)
    log.info(
        "%s: %d layers, %d tokens in %d pools",
        loaded.run,
        manifest.layers,
        ids.numel(),
        asked.pools,
    )
