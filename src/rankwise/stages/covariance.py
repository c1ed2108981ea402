"""Stage covariance: pooled input statistics of every site, one pass, one file a block of layers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import ComputeFile, ModelFile, ParamsFile

log = logging.getLogger("rankwise.covariance")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    out: Annotated[list[Path], typer.Option(help="File of one block of layers, in order; repeat.")],
) -> None:
    """Run the dense model over the calibration text and keep the statistics of its inputs."""
    from rankwise.artifacts import Tokens
    from rankwise.checkpoint import load_dense
    from rankwise.compute import set_up
    from rankwise.covariance import gather
    from rankwise.errors import RankwiseError
    from rankwise.models import family_of
    from rankwise.params import Compute, CovarianceParams, read_section
    from rankwise.records import ModelManifest

    asked = read_section(params, CovarianceParams)
    device = set_up(read_section(compute, Compute))
    manifest = ModelManifest.load(model)
    step = asked.layers_per_job
    blocks = [list(range(manifest.layers))[i : i + step] for i in range(0, manifest.layers, step)]
    if len(blocks) != len(out):
        raise RankwiseError(
            f"{len(out)} output files named for {len(blocks)} blocks of {step} layers"
        )
    dense, _ = load_dense(manifest)
    ids = Tokens.load(tokens).ids.long()
    found = gather(
        dense.to(device), family_of(manifest.architecture), ids, asked.pools, asked.batch, blocks
    )
    for path, block in zip(out, found, strict=True):
        block.save(path)
    log.info("%d layers, %d tokens in %d pools", manifest.layers, ids.numel(), asked.pools)
