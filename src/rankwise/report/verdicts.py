"""What the table says, in a sentence a budget; and what the methods in it are, in a sentence each."""

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from rankwise.allocate import allocators
from rankwise.decompose import decomposers
from rankwise.refine import refiners
from rankwise.results.ranking import group_by_budget
from rankwise.results.run import RunResult


@dataclass(frozen=True)
class Verdict:
    """The runs of one budget."""

    asked: str
    share: float
    """Bytes of the checkpoint over those of the dense model, of the best run [-]."""
    runs: int
    first: RunResult
    """That of least perplexity on the test text."""
    alike: list[str]
    """Those whose perplexity cannot be told from its."""
    zero_shot: list[str]
    """Those of the best zero-shot average, and that cannot be told from it."""


def find_verdicts(results: list[RunResult], best: set[tuple[str, str]]) -> list[Verdict]:
    """Return what stands out at every budget that several runs share; ``best`` as the table marks it."""
    dense = results[0]
    verdicts = []
    for rivals in group_by_budget(results):
        rivals.sort(key=lambda run: run.scores.perplexity)
        first = rivals[0]
        verdicts.append(
            Verdict(
                asked=str(first.scores.asked),
                share=first.row.checkpoint_bytes / dense.row.checkpoint_bytes,
                runs=len(rivals),
                first=first,
                alike=[r.name for r in rivals[1:] if (r.name, "perplexity") in best],
                zero_shot=[r.name for r in rivals if (r.name, "zero_shot_average") in best],
            )
        )
    return verdicts


def describe_methods(results: list[RunResult]) -> dict[str, dict[str, Markup]]:
    """Return kind → method as params.yaml names its section → what the method is."""
    sentences: dict[str, dict[str, Markup]] = {"Decomposers": {}, "Allocators": {}, "Refiners": {}}
    for result in results:
        if result.allocation is None:
            continue
        section = result.allocation.decompose
        settings = result.sections.get(f"decompose.{section}", {})
        sentences["Decomposers"][section] = _mark_code(
            decomposers[settings.get("method", section)].summary
        )
        if result.allocation.allocate in allocators:
            name = result.allocation.allocate
            sentences["Allocators"][name] = _mark_code(allocators[name].summary)
        if result.refinement is not None and result.refinement.method in refiners:
            name = result.refinement.method
            sentences["Refiners"][name] = _mark_code(refiners[name].summary)
    return {kind: named for kind, named in sentences.items() if named}


def _mark_code(sentence: str) -> Markup:
    """Return a sentence as HTML, what stands between backquotes as code."""
    parts = re.split(r"``?(.+?)``?", sentence)
    code = Markup("<code>{}</code>")
    return Markup("").join(
        code.format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )
