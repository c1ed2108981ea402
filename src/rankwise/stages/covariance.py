"""Stage covariance: pooled input statistics of every site, one pass, one file a block of layers."""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.params import Compute, CovarianceParams
    from rankwise.records import ModelManifest

log = logging.getLogger("rankwise.covariance")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    work: Annotated[Path, typer.Option(help="Folder of a streamed pass, so that it can go on.")],
    out: Annotated[list[Path], typer.Option(help="File of one block of layers, in order; repeat.")],
) -> None:
    """Run a model, dense or compressed, over the calibration text and keep the statistics of its inputs."""
    from rankwise import checkpoint as checkpoints
    from rankwise.artifacts import Tokens
    from rankwise.compute import set_up
    from rankwise.covariance import gather
    from rankwise.params import Compute, CovarianceParams
    from rankwise.records import ModelManifest
    from rankwise.sections import read_section
    from rankwise.sources import check, model_folder
    from rankwise.weights import Weights

    asked = read_section(params, CovarianceParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    ids = Tokens.load(tokens).ids.long()
    if asked.streaming:
        _streamed(ModelManifest.load(checkpoint), ids, asked, where, work, out)
    else:
        folder = model_folder(manifest.source, manifest.revision)
        check(folder, manifest.files, "prepare.model")
        weights = Weights(folder, manifest.family)
        found = gather(
            checkpoints.load(checkpoint, set_up(where)).model,
            manifest.family,
            weights.get,
            ids,
            where.blocks(manifest.layers),
            asked,
        )
        for path, block in zip(out, found, strict=True):
            block.save(path)
    log.info("%d layers, %d tokens in %d pools", manifest.layers, ids.numel(), asked.pools)


def _streamed(
    manifest: "ModelManifest",
    ids: "Tensor",
    asked: "CovarianceParams",
    where: "Compute",
    work: Path,
    out: list[Path],
) -> None:
    """Gather the same with one block of the dense model in memory at a time."""
    from rankwise import __version__
    from rankwise.compute import set_up
    from rankwise.files import linked
    from rankwise.sources import check, model_folder
    from rankwise.streaming import (
        Progress,
        Streamed,
        WeightFiles,
        empty,
        fingerprint,
        stream,
    )

    folder = model_folder(manifest.source, manifest.revision)
    check(folder, manifest.files, "prepare.model")
    device = set_up(where)
    files = [file for file in manifest.files if file.path.endswith(".safetensors")]
    blocks = where.blocks(manifest.layers)
    facts = manifest.dtype, blocks, where.model_dump(), __version__
    progress = Progress(work, fingerprint(manifest.files, ids, asked, *facts))
    model = empty(manifest, folder)
    streamed = Streamed(model, manifest.family, WeightFiles(folder, files), device)
    for path, made in zip(out, stream(streamed, ids, blocks, asked, progress), strict=True):
        linked(made, path)
    shutil.rmtree(work)
