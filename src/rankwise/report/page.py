"""The page: template, style and script put together into one file that asks the network for nothing.

The page's own policy (Content-Security-Policy) forbids every load, so that a browser enforces it. Links
lead to the records beside it, where a number can be looked up.
"""

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rankwise.files.resources import resource
from rankwise.report import figures
from rankwise.report.again import join_versions, print_params
from rankwise.report.costs import costs_figure, read_costs
from rankwise.report.curves import outcome, refinement_curves
from rankwise.report.facts import facts
from rankwise.report.inputs import describe_inputs
from rankwise.report.searches import search_convergence
from rankwise.report.spectra import predicted_figure, spectra_figure
from rankwise.report.speeds import speed_beside_dense
from rankwise.report.styles import SYMBOLS
from rankwise.report.table import list_cells, list_columns, points, relative
from rankwise.report.verdicts import describe_methods, find_verdicts
from rankwise.report.words import join_words, percent
from rankwise.results.decompositions import Decomposition
from rankwise.results.ranking import mark_best
from rankwise.results.run import RunResult
from rankwise.results.study import StudyResults

CAPTIONS = {
    "perplexity": "Perplexity of the test text: lower is better; of several seeds mean and range",
    "above": "Loss above the dense model's on the test text: lower is better",
    "zero_shot": "Zero-shot average over the tasks: higher is better",
    "predicted": "Change of the loss: measured against predicted; on the dotted line they agree",
    "tasks": "Accuracy by task, with standard errors; dotted: guessing",
    "prefill": "Prefill beside the dense model timed in turn, with quartiles: further right is faster",
    "decode": "Decoding beside the dense model timed in turn, with quartiles: further right is faster",
    "search": "Search: objective of every trial, and the best so far",
}
WIDE = ("tasks", "search", "costs")

TEMPLATES = resource(__file__, "templates")


def render_page(study: StudyResults, page: Path, logs: Path | None = None) -> str:
    """Return the whole page as it stands at ``page``, with links to the records from there."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["glued"] = join_words
    template = environment.get_template("page.html.j2")
    results = study.runs
    decompositions = _decompositions(results)
    best = mark_best(results, study.settings)
    return template.render(
        title=study.settings.title,
        confidence=f"{study.settings.confidence:.0%}",
        resamples=study.settings.resamples,
        lead=_lead(results),
        columns=list_columns(results),
        results=results,
        links={result.name: _link_records(result, page) for result in results},
        gaps=study.gaps,
        decompositions=decompositions,
        cells=list_cells,
        facts=facts,
        percent=percent,
        points=points,
        outcome=outcome,
        best=best,
        verdicts=find_verdicts(results, best),
        methods=describe_methods(results),
        relative=relative,
        inputs=describe_inputs(study.inputs, study.sections),
        params=print_params(study.sections),
        versions=join_versions(results),
        captions=CAPTIONS,
        wide=WIDE,
        figures=_figures(results, decompositions, logs),
        symbols=SYMBOLS,
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def _link_records(result: RunResult, page: Path) -> dict[str, str]:
    """Return kind of record → its file as seen from the page."""
    return {
        kind: Path(os.path.relpath(path, page.parent)).as_posix()
        for kind, path in result.files.items()
    }


def _decompositions(results: list[RunResult]) -> dict[str, Decomposition]:
    """Return the decompositions that runs are made of and that have a spectrum, by figure."""
    made = [result.decomposition for result in results if result.decomposition is not None]
    return {
        f"spectra-{one.origin}-{one.section}": one
        for one in made
        if any(len(spectrum) for spectrum in one.spectra.values())
    }


def _figures(
    results: list[RunResult], decompositions: dict[str, Decomposition], logs: Path | None
) -> dict[str, figures.Figure]:
    """Return the figures that there are numbers for, by name."""
    drawn = {"perplexity": figures.perplexity_by_keep(results)}
    if any(r.against_dense and r.against_dense.losses["test"].mean > 0 for r in results):
        drawn["above"] = figures.loss_above_dense(results)
    if results[0].scores.zero_shot:
        drawn["zero_shot"] = figures.zero_shot_by_keep(results)
        drawn["tasks"] = figures.accuracy_by_task(results)
    if len(results) > 1 and results[0].speed is not None:
        drawn["prefill"] = speed_beside_dense(results, "prefill")
        drawn["decode"] = speed_beside_dense(results, "decode")
    if any(result.predicted is not None for result in results):
        drawn["predicted"] = predicted_figure(results)
    if any(result.trials for result in results):
        drawn["search"] = search_convergence(results)
    for result in results:
        if result.allocation is not None:
            drawn[f"ranks-{result.name}"] = figures.ranks_map(result)
        if result.refinement is not None and result.refinement.curves:
            drawn[f"refine-{result.name}"] = refinement_curves(result.refinement)
    kinds = {
        name: x.kind for r in results if r.allocation for name, x in r.allocation.linears.items()
    }
    drawn |= {name: spectra_figure(made, kinds) for name, made in decompositions.items()}
    if costs := read_costs(logs):
        drawn["costs"] = costs_figure(costs)
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
