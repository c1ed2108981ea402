"""Stage prepare_model: find the dense model at its pinned revision, check it, and write down what it is."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.stages.options import OutFile, ParamsFile

log = logging.getLogger("rankwise.prepare")


def command(
    params: ParamsFile,
    out: OutFile,
    families: Annotated[
        Path | None, typer.Option(help="Folder of the study's own model families, if it is there.")
    ] = None,
) -> None:
    """Check the dense model (family, layers, weights) and hash its files."""
    from rankwise.inputs.empty_model import build_empty_model
    from rankwise.inputs.model_config import read_model_config
    from rankwise.inputs.sources import MODEL_FILES, hash_files, model_folder
    from rankwise.model.check import check_family
    from rankwise.model.weights import Weights
    from rankwise.params.prepare import Model
    from rankwise.params.section import read_section
    from rankwise.records.model import ModelManifest

    asked = read_section(params, Model)
    folder = model_folder(asked.source, asked.revision, download=True)
    config, architecture, family = read_model_config(folder, families)
    files = hash_files(folder, MODEL_FILES)
    if not any(file.path.endswith(".safetensors") for file in files):
        raise RankwiseError(
            f"prepare.model.source: {folder} has no weights (*.safetensors); "
            "convert pickled weights first, rankwise does not open them"
        )
    found = config.num_hidden_layers
    if found != asked.layers:
        raise RankwiseError(
            f"prepare.model.layers: {asked.layers} given, but config.json of '{asked.source}' has {found}; write {found}"
        )
    empty = build_empty_model(config)
    parameters = empty.num_parameters()
    check_family(family, empty, Weights(folder, family), asked.layers)
    ModelManifest(
        source=asked.source,
        revision=asked.revision,
        dtype=asked.dtype,
        architecture=architecture,
        family=family,
        layers=asked.layers,
        parameters=parameters,
        files=files,
    ).save(out)
    log.info("model %s: %s, %d layers", asked.source, architecture, asked.layers)
