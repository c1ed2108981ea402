"""Stage decompose: factor every linear of one block of layers, to the largest rank worth storing."""

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
    covariance: Annotated[Path, typer.Option(help="Statistics of the block.")],
    out: OutFile,
    curvature: Annotated[
        Path | None, typer.Option(help="Gradients of the block, for methods that ask for them.")
    ] = None,
) -> None:
    """Factor the linears of one block of layers with one method."""
    from rankwise.artifacts.factors import BlockFactors
    from rankwise.artifacts.gradients import BlockCurvature
    from rankwise.artifacts.statistics import BlockStatistics
    from rankwise.decompose import decomposers
    from rankwise.decompose.factoring import factor_block
    from rankwise.inputs.sources import check, model_folder
    from rankwise.model.device import DTYPES, set_up
    from rankwise.model.weights import Weights
    from rankwise.params.section import read_method, read_section
    from rankwise.params.stages import Compute
    from rankwise.records.inputs import ModelManifest

    decomposer = read_method(params, decomposers)
    method = params.stem.removeprefix("decompose.")
    device = set_up(read_section(compute, Compute))
    manifest = ModelManifest.load(model)
    folder = model_folder(manifest.source, manifest.revision)
    check(folder, manifest.files, "prepare.model")
    block = BlockStatistics.load(covariance)
    gradients = None if curvature is None else BlockCurvature.load(curvature)
    dtype = DTYPES[manifest.dtype]
    weights = Weights(folder, manifest.family)
    found = factor_block(weights, block, decomposer, device, gradients, dtype)
    linears = dict(found)
    BlockFactors(method, block.layers, linears).save(out, dtype)
    log.info("%s: %d linears of layers %s", method, len(linears), block.layers)
