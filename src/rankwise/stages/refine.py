"""Stage refine: a run's checkpoint trained on calibration text, within the same budget."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankwise.errors import RankwiseError
from rankwise.stages.options import ComputeFile, ModelFile, OutFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.records.refine import RefineRecord

log = logging.getLogger("rankwise.refine")


def command(
    params: ParamsFile,
    compute: ComputeFile,
    model: ModelFile,
    tokens: Annotated[Path, typer.Option(help="Calibration windows.")],
    start: Annotated[Path, typer.Option(help="Manifest of the checkpoint to start from.")],
    checkpoint: Annotated[Path, typer.Option(help="Folder to write.")],
    out: OutFile,
    record: Annotated[Path, typer.Option(help="Record of the refinement to write.")],
    work: Annotated[Path, typer.Option(help="Folder of finished parts, taken up again.")],
) -> None:
    """Refine one run's checkpoint; where that does not help, write the checkpoint it was."""
    from rankwise.checkpoint.loading import load_dense, load_model
    from rankwise.checkpoint.self_check import open_checkpoint, refuse_other_loss
    from rankwise.files.atomic import atomic_write
    from rankwise.inputs.sources import hash_files
    from rankwise.model.device import set_up_device
    from rankwise.params.compute import Compute
    from rankwise.params.section import read_method, read_section
    from rankwise.records.checkpoint import CheckpointManifest
    from rankwise.records.model import ModelManifest
    from rankwise.records.refine import RefineRecord
    from rankwise.refine import refiners
    from rankwise.refine._fit import finite, text_loss
    from rankwise.refine.base import Refinement

    refiner = read_method(params, refiners)
    method = params.stem.removeprefix("refine.")
    device = set_up_device(read_section(compute, Compute))
    manifest, before = ModelManifest.load(model), CheckpointManifest.load(start)
    ids = calibration_text(tokens)
    training = refiner.split(len(ids))
    dense, loaded = load_dense(manifest)[0].to(device), load_model(start, device)
    dense.requires_grad_(requires_grad=False)
    key = hash_refinement_inputs(method, refiner.model_dump(mode="json"), [model, start, tokens])

    def loss(measured: Any) -> float:
        return text_loss(measured, ids[training:], refiner.batch)

    losses = [loss(dense), loss(loaded.model)]
    problem = Refinement(dense, loaded.model, manifest.family, ids, training, work, key)
    curves = refiner(problem)
    losses.append(loss(loaded.model))
    returned_input = not losses[2] < losses[1]  # also where it is not finite
    if returned_input:
        loaded = load_model(start)
    dense_loss, loss_before, loss_after = finite(losses)
    made = RefineRecord(
        run=out.stem,
        of=before.run,
        method=method,
        parameters=refiner.model_dump(mode="json"),
        training_sequences=training,
        held_out_sequences=len(ids) - training,
        sequence_length=ids.shape[1],
        dense_loss=dense_loss,
        loss_before=loss_before,
        loss_after=loss_after,
        returned_input=returned_input,
        curves=curves,
    )
    out.unlink(missing_ok=True)  # a manifest never stands beside another folder than its own
    with atomic_write(checkpoint) as folder:
        write(loaded, made, start.with_suffix(""), folder)
        again = open_checkpoint(folder).to(device)
        expected = losses[1] if returned_input else losses[2]
        refuse_other_loss(loss(again), expected, again.dtype, "refine")
    files = hash_files(checkpoint, ("*",))
    before.model_copy(update={"run": out.stem, "files": files}).save(out)
    made.save(record)
    said = "no better than its input, which is returned" if returned_input else "better"
    log.info("%s: held-out loss %.4f, was %.4f: %s", out.stem, losses[2], losses[1], said)


def calibration_text(path: Path) -> Any:
    """Return the ids [sequences, length] of calibration text; refuses text of another role."""
    from rankwise.artifacts.tokens import Tokens

    tokens = Tokens.load(path)
    if tokens.role != "calibration":
        raise RankwiseError(
            f"{path}: text of role '{tokens.role}' given, a refinement trains on calibration text only; "
            "give data/sample/calibration.safetensors"
        )
    return tokens.ids


def hash_refinement_inputs(method: str, settings: dict[str, Any], inputs: list[Path]) -> str:
    """Return the hash of all that a refined block depends on; manifests hold the hashes of files."""
    from rankwise.files.atomic import to_json
    from rankwise.files.checksummed import sha256

    value = [method, settings, [sha256(path) for path in inputs]]
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def write(loaded: Any, made: "RefineRecord", base: Path, folder: Path) -> None:
    """Write a model with the records of the checkpoint that it was loaded from, and its own."""
    from rankwise.card.model_card import render_card
    from rankwise.checkpoint.saving import save_checkpoint
    from rankwise.files.atomic import write_text
    from rankwise.inputs.sources import hash_files
    from rankwise.records.build import BuildRecord
    from rankwise.records.checkpoint import FolderFiles

    model = loaded.model.to("cpu")
    save_checkpoint(model, loaded.tokenizer, folder, made.run, model.dtype)
    for path in (base / BuildRecord.file, *base.glob(made.file.format("*"))):
        shutil.copyfile(path, folder / path.name)
    made.save(folder / made.file.format(made.run))
    held = FolderFiles(run=made.run, parameters=loaded.parameters, files=hash_files(folder, ("*",)))
    held.save(folder / FolderFiles.file)
    built = BuildRecord.load(folder / BuildRecord.file)
    write_text(folder / "README.md", render_card(built, loaded.parameters, refined=made))
