"""Stage fisher: gradients of the loss at every linear's output, one backward pass."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import CheckpointFile, ComputeFile, ModelFile, ParamsFile

log = logging.getLogger("rankwise.fisher")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    checkpoint: CheckpointFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    work: Annotated[Path, typer.Option(help="Folder of a streamed pass, so that it can go on.")],
    out: Annotated[list[Path], typer.Option(help="File of one layer group, in order; repeat.")],
) -> None:
    """Run a model forward and backward over the calibration text and keep its gradients' moments."""
    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint.loading import load_model
    from rankwise.inputs.sources import check_files, model_folder
    from rankwise.model.device import set_up_device
    from rankwise.model.weights import Weights
    from rankwise.params.compute import Compute
    from rankwise.params.fisher import FisherParams
    from rankwise.params.section import read_section
    from rankwise.records.model import ModelManifest
    from rankwise.statistics.fisher import gather_fisher
    from rankwise.statistics.resumable import run_resumable
    from rankwise.statistics.streamed_fisher import stream_fisher

    asked = read_section(params, FisherParams)
    where = read_section(compute, Compute)
    manifest = ModelManifest.load(model)
    ids = Tokens.load(tokens).ids.long()
    if asked.streaming:
        dense = ModelManifest.load(checkpoint)
        run_resumable(stream_fisher, dense, ids, (asked, where), work, out)
    else:
        loaded = load_model(checkpoint, set_up_device(where)).model
        folder = model_folder(manifest.source, manifest.revision)
        check_files(folder, manifest.files, "prepare.model")
        weight_of = Weights(folder, manifest.family).get
        groups = where.layer_groups(manifest.layers)
        found = gather_fisher(loaded, manifest.family, weight_of, ids, groups, asked)
        for path, group in zip(out, found, strict=True):
            group.save(path)
    log.info("%d layers, %d tokens", manifest.layers, ids.numel())
