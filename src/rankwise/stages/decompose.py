"""Stage decompose: factor every linear of one layer group, to the largest rank worth storing."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import ComputeFile, ModelFile, OutFile, ParamsFile

log = logging.getLogger("rankwise.decompose")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    covariance: Annotated[Path, typer.Option(help="Statistics of the group.")],
    out: OutFile,
    fisher: Annotated[
        Path | None, typer.Option(help="Gradients of the group, for methods that ask for them.")
    ] = None,
) -> None:
    """Factor the linears of one layer group with one method."""
    from rankwise.artifacts.factors import GroupFactors
    from rankwise.artifacts.gradients import GroupFisher
    from rankwise.artifacts.statistics import GroupStatistics
    from rankwise.decompose import decomposers
    from rankwise.decompose.factoring import factor_group
    from rankwise.inputs.sources import check_files, model_folder
    from rankwise.model.device import DTYPES, set_up_device
    from rankwise.model.weights import Weights
    from rankwise.params.compute import Compute
    from rankwise.params.section import read_method, read_section
    from rankwise.records.model import ModelManifest

    decomposer = read_method(params, decomposers)
    method = params.stem.removeprefix("decompose.")
    device = set_up_device(read_section(compute, Compute))
    manifest = ModelManifest.load(model)
    folder = model_folder(manifest.source, manifest.revision)
    check_files(folder, manifest.files, "prepare.model")
    group = GroupStatistics.load(covariance)
    gradients = None if fisher is None else GroupFisher.load(fisher)
    dtype = DTYPES[manifest.dtype]
    weights = Weights(folder, manifest.family)
    found = factor_group(weights, group, decomposer, device, gradients, dtype)
    linears = dict(found)
    GroupFactors(method, group.layers, linears).save(out, dtype)
    log.info("%s: %d linears of layers %s", method, len(linears), group.layers)
