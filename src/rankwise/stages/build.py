"""Stage build: the dense model with its linears replaced by factors at the allocated ranks."""

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.options import FactorFiles, ModelFile, OutFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.artifacts import Tokens
    from rankwise.records import AllocationRecord
    from rankwise.weight_files import Reached

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
    from rankwise.allocation import choices_of
    from rankwise.artifacts import BlockFactors, Tokens
    from rankwise.card import card
    from rankwise.checkpoint import load_dense, replace, save
    from rankwise.compute import DTYPES
    from rankwise.files import replacing, write_text
    from rankwise.params import Build
    from rankwise.records import (
        AllocationRecord,
        BuildRecord,
        CheckpointManifest,
        FolderFiles,
        ModelManifest,
        asked_as,
    )
    from rankwise.sections import read_section
    from rankwise.selfcheck import expected, refuse_worse_than_counting, verified
    from rankwise.sources import hashes, model_folder
    from rankwise.versions import versions
    from rankwise.weight_files import measure
    from rankwise.weights import Weights

    asked = read_section(params, Build)
    manifest = ModelManifest.load(model)
    record = AllocationRecord.load(allocation)
    choices = choices_of(record)
    stored = {name: f for path in factors for name, f in BlockFactors.load(path).linears.items()}
    tokens = Tokens.load(calibration)
    text = tokens.ids[: asked.check_sequences]
    dense, tokenizer = load_dense(manifest)
    expectation = expected(dense, stored, choices, text, tokens.ids)
    whole = sum(p.numel() for name in choices for p in dense.get_submodule(name).parameters())
    for name, kept in choices.items():
        if kept is not None:
            replace(dense, name, stored[name], kept)
    out.unlink(missing_ok=True)  # a manifest never stands beside another folder than its own
    with replacing(checkpoint) as folder:
        save(dense, tokenizer, folder, record.run, DTYPES[asked.dtype or manifest.dtype])
        del dense  # before the checkpoint is opened again
        reached = measure(folder, set(choices), whole)
        refuse_over(record, reached)
        weights = Weights(model_folder(manifest.source, manifest.revision), manifest.family)
        check, linears = verified(folder, weights, stored, choices, text, expectation)
        if asked.worse_than_unigram == "refuse":
            refuse_worse_than_counting(check, linears)
        made = BuildRecord(
            run=record.run,
            command=shlex.join(["python", "-m", "rankwise", *sys.argv[1:]]),
            model=manifest,
            calibration=_origin(tokens),
            allocation=record,
            versions=versions(),
            notes={name: linear.notes for name, linear in stored.items()},
            check=check,
            linears=linears,
        )
        made.save(folder / BuildRecord.file)
        FolderFiles(
            run=record.run, parameters=reached["parameters"], files=hashes(folder, ("*",))
        ).save(folder / FolderFiles.file)
        write_text(folder / "README.md", card(made, reached["parameters"]))
    CheckpointManifest(
        run=record.run,
        **asked_as(record.asked),
        keep_reached=reached["keep_reached"],
        parameters=reached["parameters"],
        files=hashes(checkpoint, ("*",)),
    ).save(out)
    log.info(
        "%s: %d parameters, loss %.4f on %d sequences, dense %.4f",
        *(record.run, reached["parameters"], check.loss, check.sequences, check.dense_loss),
    )


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


def _origin(tokens: "Tokens") -> dict[str, object]:
    """Return where calibration text comes from: corpus, hash, seed, and the start of each sequence [tokens]."""
    return {
        "corpus": tokens.corpus,
        "corpus_sha256": tokens.corpus_sha256,
        "seed": tokens.seed,
        "length": tokens.ids.shape[1],
        "starts": tokens.starts.tolist(),
    }
