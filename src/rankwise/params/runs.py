"""Section ``runs``: what a person asks for, and the compressions that it comes to."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from rankwise.params.section import Count, Section, Seed
from rankwise.params.target import Target, exactly_one_target

DENSE = "dense"
"""Name of the model itself, beside the runs."""


class Budgeted(Section):
    """A compression to a budget: exactly one of the three targets is given."""

    decompose: str
    allocate: str
    keep: Annotated[float, Field(gt=0, le=1)] | None = None
    """Parameters that remain / parameters before, over the decoder layers' linears, biases counted [-]."""
    total_params: Count | None = None
    """Parameters of the whole model, tied ones once, places of sparse entries in numbers of the values' size [-]."""
    checkpoint_bytes: Count | None = None
    """Bytes of the weight files, their headers included [bytes]."""
    seed: Seed | None = None
    """Of the allocator's search, its steps' too unless ``steps_allocate`` names another; null = that of its section."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        exactly_one_target(dict(self))
        return self

    @property
    def target(self) -> Target:
        """The one that is given."""
        return exactly_one_target(dict(self))


class Run(Budgeted):
    """One compression as the stages see it: from which statistics, how, to which budget."""

    origin: str = DENSE
    """The model whose statistics are used: the dense one, or the step before."""
    way: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How far this step goes from the dense model to the budget [-]."""


class CompressedRun(Budgeted):
    """One named run: which decomposer, which allocator, which budget, in how many steps."""

    steps: Count = 1
    """Statistics are gathered again on the compressed model at each step, the budget falling evenly from the
    dense model's figure to its end [-]."""
    steps_allocate: str | None = None
    """Allocator of all steps but the last; null = that of the last."""


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


def expand_steps(runs: dict[str, CompressedRun]) -> dict[str, Run]:
    """Return every compression to be made, the steps on the way included, each before its next.

    Runs that differ only in their last step share those before; they bear the first one's name.
    """
    found: dict[str, Run] = {}
    owners: dict[Any, str] = {}
    for name, run in runs.items():
        between = run.steps_allocate or run.allocate
        seed = None if run.steps_allocate else run.seed
        owner = owners.setdefault((run.decompose, between, run.target, run.steps, seed), name)
        origin = DENSE
        for step in range(1, run.steps + 1):
            last = step == run.steps
            this = name if last else f"{owner}--step{step}"
            found[this] = Run(
                decompose=run.decompose,
                allocate=run.allocate if last else between,
                keep=run.keep,
                total_params=run.total_params,
                checkpoint_bytes=run.checkpoint_bytes,
                seed=run.seed if last else seed,
                origin=origin,
                way=step / run.steps,
            )
            origin = this
    return found
