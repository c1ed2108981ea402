"""Section ``runs``: what a person asks for, and the compressions that it comes to."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from rankwise.sections import Count, Section

DENSE = "dense"
"""Name of the model itself, beside the runs."""


class Run(Section):
    """One compression as the stages see it: from which statistics, how, to which budget."""

    decompose: str
    allocate: str
    keep: Annotated[float, Field(gt=0, le=1)]
    """Parameters that remain / parameters before, over the decoder blocks' linears, biases counted [-]."""
    origin: str = DENSE
    """The model whose statistics are used: the dense one, or the step before."""


class CompressedRun(Section):
    """One named run: which decomposer, which allocator, which budget, in how many steps."""

    decompose: str
    allocate: str
    keep: Annotated[float, Field(gt=0, le=1)]
    """Parameters that remain / parameters before, over the decoder blocks' linears, biases counted [-]."""
    steps: Count = 1
    """Statistics are gathered again on the compressed model at each step, keep falling evenly to its end [-]."""
    steps_allocate: str | None = None
    """Allocator of all steps but the last; null = that of the last."""

    def keep_at(self, step: int) -> float:
        """Return the budget of step 1 … ``steps``."""
        return round(1 - (1 - self.keep) * step / self.steps, 12)


class RefinedRun(Section):
    """One named run: another run, refined."""

    refine: str
    of: str
    """Name of the run that it starts from."""


def _kind_of_run(given: Any) -> str:
    if isinstance(given, dict):
        return "refinement" if "refine" in given or "of" in given else "compression"
    return "refinement" if isinstance(given, RefinedRun) else "compression"


AnyRun = Annotated[
    Annotated[CompressedRun, Tag("compression")] | Annotated[RefinedRun, Tag("refinement")],
    Discriminator(_kind_of_run),
]


def built(runs: dict[str, CompressedRun]) -> dict[str, Run]:
    """Return every compression to be made, the steps on the way included, each before its next.

    Runs that differ only in their last step share those before; they bear the first one's name.
    """
    found: dict[str, Run] = {}
    owners: dict[Any, str] = {}
    for name, run in runs.items():
        between = run.steps_allocate or run.allocate
        owner = owners.setdefault((run.decompose, between, run.keep, run.steps), name)
        origin = DENSE
        for step in range(1, run.steps + 1):
            last = step == run.steps
            this = name if last else f"{owner}--step{step}"
            found[this] = Run(
                decompose=run.decompose,
                allocate=run.allocate if last else between,
                keep=run.keep_at(step),
                origin=origin,
            )
            origin = this
    return found
