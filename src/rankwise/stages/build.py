"""Stage build: the dense model with its linears replaced by factors at the allocated ranks."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import FactorFiles, ModelFile, OutFile, ParamsFile

log = logging.getLogger("rankwise.build")


def command(
    params: ParamsFile,
    model: ModelFile,
    factors: FactorFiles,
    allocation: Annotated[Path, typer.Option(help="Ranks of the run.")],
    checkpoint: Annotated[Path, typer.Option(help="Folder to write.")],
    out: OutFile,
) -> None:
    """Write the checkpoint of one run, then its manifest."""
    from rankwise.allocation import choices_of
    from rankwise.artifacts import BlockFactors
    from rankwise.checkpoint import load_dense, numbers, replace, save
    from rankwise.compute import DTYPES
    from rankwise.files import replacing
    from rankwise.params import Build
    from rankwise.records import AllocationRecord, CheckpointManifest, ModelManifest
    from rankwise.sections import read_section
    from rankwise.sources import hashes

    asked = read_section(params, Build)
    manifest = ModelManifest.load(model)
    record = AllocationRecord.load(allocation)
    choices = choices_of(record)
    dense, tokenizer = load_dense(manifest)
    for path in factors:
        for name, stored in BlockFactors.load(path).linears.items():
            kept = choices[name]
            if kept is not None:
                replace(dense, name, stored, kept)
    with replacing(checkpoint) as folder:
        save(dense, tokenizer, folder, record.run, DTYPES[asked.dtype or manifest.dtype])
    out.unlink(missing_ok=True)
    CheckpointManifest(
        run=record.run,
        keep_asked=record.keep_asked,
        keep_reached=record.keep_reached,
        parameters=numbers(dense),
        files=hashes(checkpoint, ("*",)),
    ).save(out)
    log.info("%s: %d parameters", record.run, numbers(dense))
