"""Stage build: the dense model with its linears replaced by factors at the allocated ranks."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.options import FactorFiles, ModelFile, OutFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.records import AllocationRecord
    from rankwise.weight_files import Reached

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
    from rankwise.checkpoint import load_dense, replace, save
    from rankwise.compute import DTYPES
    from rankwise.files import replacing
    from rankwise.params import Build
    from rankwise.records import AllocationRecord, CheckpointManifest, ModelManifest, asked_as
    from rankwise.sections import read_section
    from rankwise.sources import hashes
    from rankwise.weight_files import measure

    asked = read_section(params, Build)
    manifest = ModelManifest.load(model)
    record = AllocationRecord.load(allocation)
    choices = choices_of(record)
    dense, tokenizer = load_dense(manifest)
    whole = sum(p.numel() for name in choices for p in dense.get_submodule(name).parameters())
    for path in factors:
        for name, stored in BlockFactors.load(path).linears.items():
            kept = choices[name]
            if kept is not None:
                replace(dense, name, stored, kept)
    with replacing(checkpoint) as folder:
        save(dense, tokenizer, folder, record.run, DTYPES[asked.dtype or manifest.dtype])
        reached = measure(folder, set(choices), whole)
        refuse_over(record, reached)
    out.unlink(missing_ok=True)
    CheckpointManifest(
        run=record.run,
        **asked_as(record.asked),
        keep_reached=reached["keep_reached"],
        parameters=reached["parameters"],
        files=hashes(checkpoint, ("*",)),
    ).save(out)
    log.info("%s: %d parameters", record.run, reached["parameters"])


def refuse_over(record: "AllocationRecord", reached: "Reached") -> None:
    """Refuse a checkpoint whose files hold more than was asked for, whatever was planned."""
    asked = record.asked
    found = {
        "keep": reached["keep_reached"],
        "total_params": reached["parameters"],
        "checkpoint_bytes": reached["checkpoint_bytes"],
    }[asked.kind]
    if found > asked.value:
        raise RankwiseError(
            f"run {record.run}: {asked} asked, the files hold {asked.shown(found)}; allocate and build it again "
            "with the same section 'build'"
        )
