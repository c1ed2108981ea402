"""Stage covariance: pooled input statistics of every site, one pass, one file a layer group."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.stages.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.records.model import ModelManifest

log = logging.getLogger("rankwise.covariance")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    work: Annotated[Path, typer.Option(help="Folder of a streamed pass, so that it can go on.")],
    out: Annotated[list[Path], typer.Option(help="File of one layer group, in order; repeat.")],
    shard: Annotated[
        int | None,
        typer.Option(
            min=0, help="Gather this part of the pools alone, each apart: --out of every pool."
        ),
    ] = None,
    parts: Annotated[
        list[Path] | None,
        typer.Option(
            "--part", help="What shards gathered, to be added up: pools in order; repeat."
        ),
    ] = None,
) -> None:
    """Run a model, dense or compressed, over the calibration text and keep the statistics of its inputs."""
    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint.loading import load_model
    from rankwise.inputs.sources import check_files, model_folder
    from rankwise.model.device import set_up_device
    from rankwise.model.weights import Weights
    from rankwise.params.compute import Compute
    from rankwise.params.covariance import CovarianceParams
    from rankwise.params.section import read_section
    from rankwise.records.model import ModelManifest
    from rankwise.statistics.covariance import Pools, gather_covariance, gather_pools
    from rankwise.statistics.resumable import run_resumable
    from rankwise.statistics.streamed_covariance import stream_covariance

    asked = read_section(params, CovarianceParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    ids = Tokens.load(tokens).ids.long()
    groups = where.layer_groups(manifest.layers)
    if parts:
        _merge(manifest, parts, out)
    elif asked.streaming:
        dense = ModelManifest.load(checkpoint)
        run_resumable(stream_covariance, dense, ids, (asked, where), work, out, shard)
    else:
        folder = model_folder(manifest.source, manifest.revision)
        check_files(folder, manifest.files, "prepare.model")
        weight_of = Weights(folder, manifest.family).get
        loaded = load_model(checkpoint, set_up_device(where)).model
        if shard is None:
            found = iter(
                [gather_covariance(loaded, manifest.family, weight_of, ids, groups, asked)]
            )
        else:
            pools = Pools.of_shard(ids, asked, shard)
            found = gather_pools(loaded, manifest.family, weight_of, pools, groups, asked)
        paths = iter(out)
        for part in found:
            for group in part:
                group.save(next(paths))
    log.info("%d layers, %d tokens in %d pools", manifest.layers, ids.numel(), asked.pools)


def _merge(manifest: "ModelManifest", parts: list[Path], out: list[Path]) -> None:
    """Add up what shards gathered, group by group, in the order of the pools, as one pass does."""
    from rankwise.artifacts.statistics import GroupStatistics
    from rankwise.statistics.covariance import warn_unknown_experts

    for at, path in enumerate(out):
        of_block = parts[at :: len(out)]
        found = GroupStatistics.load(of_block[0])
        for part in of_block[1:]:
            found.add(GroupStatistics.load(part))
        warn_unknown_experts(manifest.family, [found])
        found.save(path)
