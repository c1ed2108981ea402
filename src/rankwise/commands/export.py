"""``rankwise export``: a checkpoint to give away, as it is or multiplied back."""

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.checkpoint.loading import LoadedModel
    from rankwise.records.scores import Scores

WINDOWS, LENGTH = 64, 256
"""Most windows of a text that are measured, and most tokens of each."""


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder of a checkpoint, or its manifest.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.")],
    dense: Annotated[
        bool,
        typer.Option(help="Multiply the factors back into a model of the original architecture."),
    ] = False,
    drop_bias: Annotated[
        bool, typer.Option(help="Leave out biases that the architecture has no place for.")
    ] = False,
    text: Annotated[
        Path | None, typer.Option(help="Text file on which to measure what dropped biases cost.")
    ] = None,
) -> None:
    """Copy a checkpoint with its measured scores in the model card, or write it as a stock model.

    Example: rankwise export data/checkpoints/rankwise-80 ~/models/rankwise-80 --dense
    """
    from rankwise.files.atomic import atomic_write

    if folder.exists():
        raise RankwiseError(f"{folder} exists already; name another folder, or remove it")
    if drop_bias and (text is None or not dense):
        raise RankwiseError(
            "--drop-bias goes with --dense and with --text FILE, on which its cost is measured"
        )
    with atomic_write(folder) as written:
        if dense:
            _stock(checkpoint, written, text if drop_bias else None)
        else:
            _copy(checkpoint, written)
    typer.echo(f"{folder}")


def _copy(checkpoint: Path, folder: Path) -> None:
    """Copy the files that the manifest lists; the card gets the table of scores, where there are any."""
    from rankwise.card.model_card import render_card
    from rankwise.checkpoint.loading import manifest_of
    from rankwise.files.atomic import write_text
    from rankwise.inputs.sources import check_files
    from rankwise.records.build import BuildRecord
    from rankwise.records.checkpoint import CheckpointManifest
    from rankwise.records.refine import RefineRecord

    manifest = manifest_of(checkpoint)
    record, source = CheckpointManifest.load(manifest), manifest.with_suffix("")
    check_files(source, record.files, shlex.quote(str(source)))
    folder.mkdir()
    for file in record.files:
        shutil.copyfile(source / file.path, folder / file.path)
    refined = source / RefineRecord.file.format(record.run)
    text = render_card(
        BuildRecord.load(source / BuildRecord.file),
        record.parameters,
        refined=RefineRecord.load(refined) if refined.is_file() else None,
        scores=_scores(manifest),
    )
    write_text(folder / "README.md", text)


def _scores(manifest: Path) -> "list[Scores]":
    """Return the scores of the dense model and of the run, none where the study has not measured both."""
    from rankwise.params.names import DENSE
    from rankwise.records.scores import Scores

    scores = manifest.parent.parent / "scores"
    paths = [scores / f"{DENSE}.json", scores / manifest.name]
    return [Scores.load(path) for path in paths] if all(p.is_file() for p in paths) else []


def _stock(checkpoint: Path, folder: Path, text: Path | None) -> None:
    """Write the stock model; with ``text``, biases that have no place are dropped and their cost is said."""
    from rankwise.checkpoint.loading import load_model, manifest_of
    from rankwise.checkpoint.merge import merge_factors
    from rankwise.checkpoint.weight_files import SHARD_SIZE
    from rankwise.evaluate.perplexity import mean_loss, window_losses

    loaded = load_model(manifest_of(checkpoint))
    made = merge_factors(loaded.model, drop_bias=text is not None)
    made.model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    loaded.tokenizer.save_pretrained(folder)
    if text is not None:
        ids = _windows(text, loaded)
        with_biases, without = (
            mean_loss(window_losses(model, ids, 1, text.name))
            for model in (loaded.model, made.model)
        )
        typer.echo(
            f"{len(made.dropped)} biases left out: {without:.4f} nats a token of {text} in place of {with_biases:.4f}"
        )


def _windows(text: Path, loaded: "LoadedModel") -> "Tensor":
    """Return the first windows [n ≤ `WINDOWS`, ≤ `LENGTH`] of a text."""
    import torch

    from rankwise.inputs.sampling import draw_windows
    from rankwise.inputs.texts import read_text

    given = read_text(text, "text", None)
    ids = loaded.tokenizer(given, add_special_tokens=False, verbose=False)
    stream = torch.tensor(ids["input_ids"], dtype=torch.int32)
    positions = getattr(loaded.model.config, "max_position_embeddings", None) or LENGTH
    length = max(2, min(LENGTH, positions, len(stream) // 2))
    windows, _ = draw_windows(stream, length, None, 0, None, str(text))
    return windows[:WINDOWS]
