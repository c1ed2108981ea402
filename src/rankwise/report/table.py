"""The table of runs: columns, what each cell shows, sorts by and links to."""

import math
from dataclasses import dataclass

from rankwise.params.names import DENSE
from rankwise.params.sample import FURTHER
from rankwise.records.pairs import NOISE, Difference
from rankwise.records.speed import SpeedRecord
from rankwise.records.summary import SummaryRow
from rankwise.report.words import NOTHING, TIMES, number
from rankwise.results.run import RunResult


@dataclass(frozen=True)
class Column:
    """One column of the table of runs."""

    title: str
    unit: str = ""
    align: str = ""


@dataclass(frozen=True)
class Cell:
    """One number of the table: what it sorts by, what is shown, and the record that holds it."""

    key: str
    value: float | str
    text: str
    record: str
    note: str = ""
    change: str = ""
    """The difference from the dense model with its interval."""
    noise: bool = False


def list_columns(results: list[RunResult]) -> list[Column]:
    """Return the columns; a further text has one of its own, speed where it was timed."""
    speed = results[0].speed
    return [
        Column("run", align="name"),
        Column("asked"),
        Column("keep", "reached"),
        Column("perplexity"),
        *(Column("perplexity", name) for name in results[0].scores.further),
        Column("zero-shot", "average"),
        Column("parameters"),
        Column("checkpoint", "MB"),
        *([] if speed is None else [Column("speed", f"prefill, batch {speed.points[-1].batch}")]),
    ]


def list_cells(result: RunResult, dense: SummaryRow) -> list[Cell]:
    """Return the numbers of one row, in the order of the columns; sizes beside those of ``dense``."""
    row, scores = result.row, result.scores
    texts = {"test": row.perplexity}
    texts |= {f"{FURTHER}{name}": text.perplexity for name, text in scores.further.items()}
    return [
        Cell("asked", row.asked.value, row.asked.short(), "scores"),
        Cell("keep_reached", row.keep_reached, f"{row.keep_reached:.4f}", "scores"),
        *(_perplexity(result, role, value) for role, value in texts.items()),
        _average(result),
        Cell(
            "parameters",
            row.parameters,
            f"{row.parameters:,}",
            "scores",
            _factor(result, row.parameters / dense.parameters),
        ),
        Cell(
            "checkpoint_bytes",
            row.checkpoint_bytes,
            f"{row.checkpoint_bytes / 1e6:.2f}",
            "checkpoints",
            _factor(result, row.checkpoint_bytes / dense.checkpoint_bytes),
        ),
        *([] if result.speed is None else [_speed(result.speed)]),
    ]


def _factor(result: RunResult, ratio: float) -> str:
    return "" if result.name == DENSE else f"{TIMES} {ratio:.2f}"


def _speed(speed: SpeedRecord) -> Cell:
    ratio = speed.tokens_per_second / speed.dense[-1].prefill.median
    said = f"{speed.tokens_per_second:,.0f} tokens/s"
    return Cell("speed", ratio, f"{TIMES} {ratio:.2f}", "speed", said)


def _perplexity(result: RunResult, role: str, value: float) -> Cell:
    key = "perplexity" if role == "test" else role
    found = result.against_dense.losses.get(role) if result.against_dense else None
    if found is None:
        return Cell(key, value, number(value), "scores")
    change, noise = relative(found)
    return Cell(key, value, number(value), "scores", change=change, noise=noise)


def _average(result: RunResult) -> Cell:
    value, error = result.scores.zero_shot_average, result.zero_shot_error
    if value is None:
        return Cell("zero_shot_average", "", NOTHING, "scores")
    note = f"\u00b1 {error:.1%}" if error else ""
    found = result.against_dense.average if result.against_dense else None
    if found is None:
        return Cell("zero_shot_average", value, f"{value:.1%}", "scores", note)
    change, noise = points(found)
    return Cell("zero_shot_average", value, f"{value:.1%}", "scores", "", change, noise)


def relative(loss: Difference) -> tuple[str, bool]:
    """Return a difference of losses as a change of perplexity in per cent, and whether it is noise."""
    mean, low, high = (100 * math.expm1(value) for value in (loss.mean, loss.low, loss.high))
    return _shown(mean, low, high, loss.noise, " %"), loss.noise


def points(accuracy: Difference) -> tuple[str, bool]:
    """Return a difference of accuracies in percentage points, and whether it is noise."""
    mean, low, high = (100 * value for value in (accuracy.mean, accuracy.low, accuracy.high))
    return _shown(mean, low, high, accuracy.noise, ""), accuracy.noise


def _shown(mean: float, low: float, high: float, noise: bool, unit: str) -> str:
    places = 2 if max(abs(low), abs(high)) < 1 else 1 if max(abs(low), abs(high)) < 100 else 0
    texts = [f"{value:+z,.{places}f}".replace("-", "\u2212") for value in (mean, low, high)]
    return f"{f'{NOISE} ' if noise else ''}{texts[0]}{unit} [{texts[1]}, {texts[2]}]"
