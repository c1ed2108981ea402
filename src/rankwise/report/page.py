"""The page: template, style and script put together into one file that asks the network for nothing.

The page's own policy (Content-Security-Policy) forbids every load, so that a browser enforces it.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from rankwise.records import RefineRecord, SpeedRecord
from rankwise.report import figures
from rankwise.report.curves import outcome, refinement_curves
from rankwise.report.speeds import speed_by_batch
from rankwise.report.study import RunResult, best
from rankwise.runs import DENSE

CAPTIONS = {
    "perplexity": "Perplexity of the test text: lower is better",
    "zero_shot": "Zero-shot average over the tasks: higher is better",
    "tasks": "Accuracy by task; dotted: guessing",
    "speed": "Speed beside the dense model timed in turn: prefill (line), decoding (dotted)",
    "search": "Search: objective of every trial, and the best so far",
}
TIMES, NOTHING = "\u00d7", "\u2013"
WIDE = ("tasks", "search")


@dataclass(frozen=True)
class Column:
    """One column of the table of runs."""

    title: str
    unit: str = ""
    align: str = ""


COLUMNS = [
    Column("run", align="name"),
    Column("asked", "keep, parameters or MB"),
    Column("keep", "reached"),
    Column("perplexity"),
    Column("zero-shot", "average"),
    Column("parameters"),
    Column("checkpoint", "MB"),
    Column("tokens/s"),
]


@dataclass(frozen=True)
class Cell:
    """One number of the table: what it sorts by, and what is shown."""

    key: str
    value: float | str
    text: str
    note: str = ""


def render(title: str, results: list[RunResult]) -> str:
    """Return the whole page; ``results`` holds the dense model first."""
    from plotly.offline import get_plotlyjs

    folder = files("rankwise.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        lead=_lead(results),
        columns=COLUMNS,
        results=results,
        cells=_cells,
        facts=_facts,
        percent=_percent,
        outcome=outcome,
        best=best(results),
        captions=CAPTIONS,
        wide=WIDE,
        figures=_figures(results),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def _figures(results: list[RunResult]) -> dict[str, figures.Figure]:
    """Return the figures that there are numbers for, by name."""
    drawn = {"perplexity": figures.perplexity_by_keep(results)}
    if results[0].scores.zero_shot:
        drawn["zero_shot"] = figures.zero_shot_by_keep(results)
        drawn["tasks"] = figures.accuracy_by_task(results)
    if len(results) > 1:
        drawn["speed"] = speed_by_batch(results)
    if any(result.trials for result in results):
        drawn["search"] = figures.search_convergence(results)
    for result in results:
        if result.allocation is not None:
            drawn[f"ranks-{result.name}"] = figures.ranks_map(result)
        if result.refinement is not None and result.refinement.curves:
            drawn[f"refine-{result.name}"] = refinement_curves(result.refinement)
    return drawn


def _lead(results: list[RunResult]) -> str:
    """Say in a sentence what was measured on what."""
    dense = results[0].scores
    items = sum(task.items for task in dense.zero_shot.values())
    asked = f", and {len(dense.zero_shot)} zero-shot tasks with {items:,} items" if items else ""
    return (
        f"A model of {dense.parameters:,} parameters and {len(results) - 1} compressed versions of it: "
        f"perplexity over {dense.tokens:,} tokens in windows of {dense.window_length}{asked}."
    )


def _cells(result: RunResult) -> list[Cell]:
    """Return the numbers of one row, in the order of ``COLUMNS``."""
    row, error = result.row, result.zero_shot_error
    average = row.zero_shot_average
    ratio = result.speed.tokens_per_second / result.speed.dense[-1].prefill.median
    return [
        Cell("asked", row.asked.value, row.asked.short()),
        Cell("keep_reached", row.keep_reached, f"{row.keep_reached:.4f}"),
        Cell("perplexity", row.perplexity, _number(row.perplexity)),
        Cell(
            "zero_shot_average",
            "" if average is None else average,
            NOTHING if average is None else f"{average:.1%}",
            f"± {error:.1%}" if error else "",
        ),
        Cell("parameters", row.parameters, f"{row.parameters:,}"),
        Cell("checkpoint_bytes", row.checkpoint_bytes, f"{row.checkpoint_bytes / 1e6:.2f}"),
        Cell(
            "tokens_per_second",
            row.tokens_per_second,
            f"{row.tokens_per_second:,.0f}",
            "" if result.name == DENSE else f"{TIMES} {ratio:.2f}",
        ),
    ]


def _facts(result: RunResult) -> dict[str, str]:
    """Return the record of one run as words: what was asked, reached, used and measured."""
    scores, speed, allocation = result.scores, result.speed, result.allocation
    facts = {
        "asked": str(scores.asked),
        "keep reached": f"{scores.keep_reached:.6f}",
        "perplexity": f"{scores.perplexity:.6g}",
        "loss": f"{scores.loss:.6g} nats/token",
        "test text": f"{scores.windows:,} windows of {scores.window_length} tokens",
        **{
            f"perplexity, {name}": f"{text.perplexity:.6g} over {text.windows:,} windows of {text.window_length}"
            for name, text in scores.further.items()
        },
        **_speed_facts(speed),
    }
    if allocation is not None:
        facts |= {"decomposer": allocation.decompose, "allocator": allocation.allocate}
        facts |= {f"allocator: {key}": _word(value) for key, value in allocation.parameters.items()}
        facts |= {f"search: {key}": _word(value) for key, value in allocation.search.items()}
    if result.refinement is not None:
        facts |= _refinement_facts(result.refinement)
    facts |= {f"evaluate: {key}": _word(value) for key, value in scores.parameters_section.items()}
    return facts | {f"version: {name}": version for name, version in scores.versions.items()}


def _speed_facts(speed: SpeedRecord) -> dict[str, str]:
    """Return how fast a run is at every batch size, and the dense model beside it."""
    facts = {}
    for point, dense in zip(speed.points, speed.dense, strict=True):
        for phase in ("prefill", "decode"):
            ours, theirs = getattr(point, phase), getattr(dense, phase)
            facts[f"{phase}, batch {point.batch}"] = (
                f"{ours.median:,.0f} tokens/s, quartiles {_range(ours.quartiles)}; "
                f"dense beside it {theirs.median:,.0f}, {_range(theirs.quartiles)}"
            )
    facts["timed"] = (
        f"{speed.repeats} repeats, prompts of {speed.length} tokens, {speed.new_tokens} decoded, "
        f"{speed.device}, {speed.threads} thread{'s' if speed.threads > 1 else ''}"
    )
    return facts


def _refinement_facts(record: RefineRecord) -> dict[str, str]:
    """Return what a refinement did, as words."""
    return {
        "refiner": f"{record.method}, from {record.of}",
        "refiner: outcome": outcome(record),
        **{f"refiner: {key}": _word(value) for key, value in record.parameters.items()},
    }


def _number(value: float) -> str:
    """Four figures that matter, thousands set apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.4g}"


def _range(quartiles: tuple[float, float]) -> str:
    return f"{quartiles[0]:,.0f} to {quartiles[1]:,.0f}"


def _percent(value: float | None, error: float | None = None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1%}" + (f" ± {error:.1%}" if error is not None else "")


def _word(value: Any) -> str:
    """One parameter as a person writes it."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value)) or "none"
    return str(value)
