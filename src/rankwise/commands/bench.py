"""``rankwise bench``: how fast a checkpoint is beside the dense model, in one process, in turn."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    from rankwise.checkpoint.loading import LoadedModel
    from rankwise.records.speed import Rate, SpeedRecord

SCHEMA = "rankwise/bench@1"


def bench(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder of a checkpoint, or its manifest.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="Manifest of the dense model; default: that of the same study."),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; repeat.")] = None,
    length: Annotated[int, typer.Option(min=1, help="Prompt length [tokens].")] = 128,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens decoded behind it.")] = 32,
    repeats: Annotated[int, typer.Option(min=3, help="Timed repeats of each model.")] = 7,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads on the CPU; default: one a core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time prefill and decoding of a checkpoint beside the dense model; say what they take.

    Example: rankwise bench data/checkpoints/rankwise-80 --batch 1 --batch 8
    """
    from rankwise.checkpoint.loading import load_model
    from rankwise.evaluate.speed import compare_speed
    from rankwise.files.atomic import to_json
    from rankwise.model.device import set_up_device
    from rankwise.params.compute import Compute
    from rankwise.params.section import validate
    from rankwise.params.speed import Speed

    ours, theirs = manifests(checkpoint, against)
    cores = len(os.sched_getaffinity(0))
    compute = {"device": device, "threads": threads or cores}
    where = set_up_device(validate(Compute, compute, "bench", ()))
    given = Speed(
        batches=batch or [1, 8, 32], length=length, new_tokens=new_tokens, repeats=repeats
    )
    run, dense = load_model(ours, where), load_model(theirs, where)
    record = compare_speed(run.run, run.model, dense.model, given)
    notes = remarks(run, record)
    if as_json:
        sizes = {name: _size(model) for name, model in (("run", run), ("dense", dense))}
        speed = record.model_dump(mode="json")
        typer.echo(to_json({"schema": SCHEMA, "speed": speed, "sizes": sizes, "notes": notes}))
    else:
        _print(record, run, dense, notes)


def manifests(checkpoint: Path, against: Path | None) -> tuple[Path, Path]:
    """Return the manifests of a checkpoint and of the dense model; refuses what is not there."""
    from rankwise.checkpoint.loading import manifest_of

    ours = manifest_of(checkpoint)
    theirs = against or ours.parent.parent / "prepare/model.json"
    if not theirs.is_file():
        raise RankwiseError(
            f"found no manifest of the dense model, {theirs}; name it with --against, "
            "such as --against data/prepare/model.json"
        )
    return ours, theirs


def remarks(run: "LoadedModel", record: "SpeedRecord") -> list[str]:
    """Return sentences on where the run is slower than the dense model, and on what would help.

    Slower: its median lies below the lower quartile of the dense model's.
    """
    from rankwise.evaluate.multiples import find_helpful_multiple
    from rankwise.hub.linears import LowRankSparseLinear

    slower, tokens = [], 0
    for point, dense in zip(record.points, record.dense, strict=True):
        sizes = {"prefill": point.batch * record.length, "decode": point.batch}
        for phase, size in sizes.items():
            ours, theirs = getattr(point, phase), getattr(dense, phase)
            if ours.median < theirs.quartiles[0]:
                factor = ours.median / theirs.median
                slower.append(f"{phase} at batch {point.batch} ({factor:.2f} times its speed)")
                tokens = max(tokens, size)
    notes = []
    if any(isinstance(module, LowRankSparseLinear) for module in run.model.modules()):
        notes.append(
            "Sparse parts are multiplied as dense matrices: a checkpoint with them is smaller on disk, "
            "and does more work than the dense model."
        )
    if slower:
        notes.append(f"Slower than the dense model: {', '.join(slower)}.")
        multiple = find_helpful_multiple(run.model, tokens)
        notes.append(
            f"Ranks in multiples of {multiple} (allocate.….multiple) would help: timed here, a rank then takes less time."
            if multiple
            else "No rank multiple up to 64 would help: timed here, a rank takes as long in any of them."
        )
    return notes


def _size(model: "LoadedModel") -> dict[str, int]:
    return {"parameters": model.parameters, "checkpoint_bytes": model.checkpoint_bytes}


def _print(
    record: "SpeedRecord", run: "LoadedModel", dense: "LoadedModel", notes: list[str]
) -> None:
    """Print a row a batch size and phase, then sizes, then what is to be said of them."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "batch", box=None, header_style="bold")
    for title in (f"{record.run}, tokens/s", "dense, tokens/s", "factor", "memory MB", "dense MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for point, other in zip(record.points, record.dense, strict=True):
        for phase in ("prefill", "decode"):
            ours, theirs = getattr(point, phase), getattr(other, phase)
            row = [phase, str(point.batch), _rate(ours), _rate(theirs)]
            row += [f"{ours.median / theirs.median:.2f}"]
            row += [f"{p.memory_bytes / 1e6:,.1f}" for p in (point, other)]
            table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    beside = "keys and values" if record.device == "cpu" else "the most allocated beside them"
    lines = [
        f"Median and quartiles of {record.repeats} repeats in turn: prompts of {record.length} tokens, "
        f"{record.new_tokens} decoded; {record.device}, {record.threads} threads.",
        f"Memory: weights in use and {beside}"
        + ("; activations are not counted." if record.device == "cpu" else "."),
        f"Checkpoint: {run.checkpoint_bytes / 1e6:,.2f} MB, dense {dense.checkpoint_bytes / 1e6:,.2f} MB; "
        f"{run.parameters:,} parameters, dense {dense.parameters:,}.",
        *notes,
    ]
    console.print("\n".join(lines), highlight=False, markup=False)


def _rate(rate: "Rate") -> str:
    low, high = rate.quartiles
    return f"{rate.median:,.0f} ({low:,.0f} to {high:,.0f})"
