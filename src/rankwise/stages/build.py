"""Stage build: the dense model with its linears replaced by factors at the allocated ranks."""

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.stages.options import FactorFiles, ModelFile, OutFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.artifacts.tokens import Tokens
    from rankwise.checkpoint.weight_files import CheckpointSize
    from rankwise.records.allocation import AllocationRecord

log = logging.getLogger("rankwise.build")


def command(
    params: ParamsFile,
    model: ModelFile,
    factors: FactorFiles,
    allocation: Annotated[Path, typer.Option(help="Ranks of the run.")],
    calibration: Annotated[
        Path, typer.Option(help="Calibration windows, to check the checkpoint on.")
    ],
    checkpoint: Annotated[Path, typer.Option(help="Folder to write.")],
    out: OutFile,
) -> None:
    """Write the checkpoint of one run and check it, then its manifest."""
    import torch

    from rankwise.artifacts.tokens import Tokens
    from rankwise.card.model_card import render_card
    from rankwise.checkpoint.assembly import assemble_checkpoint
    from rankwise.checkpoint.choices import read_choices
    from rankwise.checkpoint.saving import save_checkpoint
    from rankwise.checkpoint.self_check import refuse_worse_than_unigram, verify_build
    from rankwise.checkpoint.weight_files import count_checkpoint
    from rankwise.files.atomic import atomic_write, write_text
    from rankwise.inputs.sources import hash_files, model_folder
    from rankwise.inputs.tokenizer import read_tokenizer
    from rankwise.model.device import DTYPES
    from rankwise.model.weights import Weights
    from rankwise.params.build import Build
    from rankwise.params.section import read_section
    from rankwise.records.allocation import AllocationRecord
    from rankwise.records.asked import target_fields
    from rankwise.records.build import BuildRecord
    from rankwise.records.checkpoint import CheckpointManifest, FolderFiles
    from rankwise.records.model import ModelManifest
    from rankwise.records.versions import installed_versions
    from rankwise.statistics.streamed import Streamed

    asked = read_section(params, Build)
    manifest = ModelManifest.load(model)
    record = AllocationRecord.load(allocation)
    choices = read_choices(record)
    tokens = Tokens.load(calibration)
    source = model_folder(manifest.source, manifest.revision)
    text = tokens.ids[: asked.check_sequences]
    out.unlink(missing_ok=True)  # a manifest never stands beside another folder than its own
    with atomic_write(checkpoint) as folder:
        streamed = Streamed.of(manifest, torch.device("cpu"))
        model, meant = assemble_checkpoint(streamed, factors, choices, text)
        dtype = DTYPES[asked.dtype or manifest.dtype]
        save_checkpoint(model, read_tokenizer(source), folder, record.run, dtype)
        del streamed, model  # before the checkpoint is opened again
        reached = count_checkpoint(folder, set(choices), meant.dense_numbers)
        refuse_over(record, reached)
        weights = Weights(source, manifest.family)
        check, linears = verify_build(folder, weights, factors, choices, tokens.ids, meant)
        if asked.worse_than_unigram == "refuse":
            refuse_worse_than_unigram(check, linears)
        made = BuildRecord(
            run=record.run,
            command=shlex.join(["python", "-m", "rankwise", *sys.argv[1:]]),
            model=manifest,
            calibration=_origin(tokens),
            allocation=record,
            versions=installed_versions(),
            notes=meant.notes,
            check=check,
            linears=linears,
        )
        made.save(folder / BuildRecord.file)
        FolderFiles(
            run=record.run, parameters=reached["parameters"], files=hash_files(folder, ("*",))
        ).save(folder / FolderFiles.file)
        write_text(folder / "README.md", render_card(made, reached["parameters"]))
    CheckpointManifest(
        run=record.run,
        **target_fields(record.asked),
        keep_reached=reached["keep_reached"],
        parameters=reached["parameters"],
        files=hash_files(checkpoint, ("*",)),
    ).save(out)
    log.info(
        "%s: %d parameters, loss %.4f on %d sequences, dense %.4f",
        *(record.run, reached["parameters"], check.loss, check.sequences, check.dense_loss),
    )


def refuse_over(record: "AllocationRecord", reached: "CheckpointSize") -> None:
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


def _origin(tokens: "Tokens") -> dict[str, object]:
    """Return where calibration text comes from: corpus, hash, seed, and the start of each sequence [tokens]."""
    return {
        "corpus": tokens.corpus,
        "corpus_sha256": tokens.corpus_sha256,
        "seed": tokens.seed,
        "length": tokens.ids.shape[1],
        "starts": tokens.starts.tolist(),
    }
