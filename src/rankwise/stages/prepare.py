"""Stage prepare: find model, texts and tasks at their pinned revisions and write down what they are."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.stages.options import OutFile, ParamsFile

log = logging.getLogger("rankwise.prepare")
app = typer.Typer(help="Manifests of model, texts and tasks: source, revision, hashes.")


@app.command()
def model(
    params: ParamsFile,
    out: OutFile,
    families: Annotated[
        Path | None, typer.Option(help="Folder of the study's own model families, if it is there.")
    ] = None,
) -> None:
    """Check the dense model (family, layers, weights) and hash its files."""
    from rankwise.inputs.architecture import build_empty_model, read_model_config
    from rankwise.inputs.sources import MODEL_FILES, hash_files, model_folder
    from rankwise.model.check import check_family
    from rankwise.model.weights import Weights
    from rankwise.params.section import read_section
    from rankwise.params.stages import Model
    from rankwise.records.inputs import ModelManifest

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


@app.command()
def corpora(params: ParamsFile, out: OutFile) -> None:
    """Find every text and hash it; two names for the same bytes are refused."""
    from rankwise.files.checksummed import sha256
    from rankwise.inputs.sources import text_file
    from rankwise.params.section import read_object, validate
    from rankwise.params.stages import Corpus
    from rankwise.records.inputs import CorporaManifest, CorpusManifest

    found: dict[str, CorpusManifest] = {}
    for name, given in read_object(params).items():
        asked = validate(Corpus, given, str(params), (name,))
        path = text_file(asked.source, asked.revision, asked.file, download=True)
        digest = sha256(path)
        for other, corpus in found.items():
            if corpus.sha256 == digest:
                raise RankwiseError(
                    f"prepare.corpora: '{name}' and '{other}' are the same bytes ({path}); "
                    "roles that share a text name one corpus, test text is another text"
                )
        found[name] = CorpusManifest(**asked.model_dump(), sha256=digest, bytes=path.stat().st_size)
        log.info("corpus %s: %s, %d bytes", name, asked.source, path.stat().st_size)
    CorporaManifest(corpora=found).save(out)


@app.command()
def tasks(params: ParamsFile, out: OutFile) -> None:
    """Hash the zero-shot task files, and their items."""
    from rankwise.inputs.sources import ITEM_FILES, hash_files, items_folder, tasks_folder
    from rankwise.params.section import read_section
    from rankwise.params.stages import Tasks
    from rankwise.records.inputs import TasksManifest

    asked = read_section(params, Tasks)
    manifest = TasksManifest(source=None, files=[])
    if asked.source is not None:
        files = hash_files(tasks_folder(asked.source), ("*.yaml", *ITEM_FILES))
        if not any(file.path.endswith(".yaml") for file in files):
            raise RankwiseError(
                f"prepare.tasks.source: '{asked.source}' holds no *.yaml task file; give null for no tasks"
            )
        data = items_folder(asked.source, asked.data)
        items = [] if data is None else hash_files(data, ITEM_FILES)
        manifest = TasksManifest(
            source=asked.source, files=files, data=asked.data, data_files=items
        )
    manifest.save(out)
    log.info("tasks %s: %d files", asked.source, len(manifest.files) + len(manifest.data_files))
