"""Section ``runs``: the runs as written, and the compressions that they expand to."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from rankwise.params.names import DENSE
from rankwise.params.section import Count, Section, Seed
from rankwise.params.target import Target, exactly_one_target


class Budgeted(Section):
    """A compression to a budget: exactly one of the three targets is set."""

    decompose: str
    allocate: str
    keep: Annotated[float, Field(gt=0, le=1)] | None = None
    """Parameters that remain / parameters before, over the decoder layers' linears, biases counted [-]."""
    total_params: Count | None = None
    """Parameters of the complete model, tied ones once; indices of nonzeros count in numbers of the values' size [-]."""
    checkpoint_bytes: Count | None = None
    """Size of the weight files, headers included [bytes]."""
    seed: Seed | None = None
    """Of the allocator's search, its steps' too unless ``steps_allocate`` names another; null = that of its section."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        exactly_one_target(dict(self))
        return self

    @property
    def target(self) -> Target:
        """The one target that is set."""
        return exactly_one_target(dict(self))


class Run(Budgeted):
    """One compression as the stages read it: statistics source, methods and budget."""

    origin: str = DENSE
    """The model whose statistics are used: the dense one, or the step before."""
    way: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How far this step goes from the dense model to the budget [-]."""


class CompressedRun(Budgeted):
    """One named run: decomposer, allocator, budget and number of steps."""

    steps: Count = 1
    """Statistics are gathered again on the compressed model at each step, the budget falling evenly from the
    dense model's figure to its end [-]."""
    steps_allocate: str | None = None
    """Allocator of all steps but the last; null = that of the last."""


class RefinedRun(Section):
    """One named run: another run, refined."""

    refine: str
    of: str
    """Name of the run that is refined."""


def _kind_of_run(run: Any) -> str:
    if isinstance(run, dict):
        return "refinement" if "refine" in run or "of" in run else "compression"
    return "refinement" if isinstance(run, RefinedRun) else "compression"


AnyRun = Annotated[
    Annotated[CompressedRun, Tag("compression")] | Annotated[RefinedRun, Tag("refinement")],
    Discriminator(_kind_of_run),
]


def expand_steps(runs: dict[str, CompressedRun]) -> dict[str, Run]:
    """Return every compression that the runs need, intermediate steps included, each before its successor.

    Runs that differ only in their last step share the earlier steps, which have the first run's name.
    """
    compressions: dict[str, Run] = {}
    owners: dict[Any, str] = {}
    for name, run in runs.items():
        earlier_allocate = run.steps_allocate or run.allocate
        seed = None if run.steps_allocate else run.seed
        owner = owners.setdefault(
            (run.decompose, earlier_allocate, run.target, run.steps, seed), name
        )
        origin = DENSE
        for step in range(1, run.steps + 1):
            last = step == run.steps
            step_name = name if last else f"{owner}--step{step}"
            compressions[step_name] = Run(
                decompose=run.decompose,
                allocate=run.allocate if last else earlier_allocate,
                keep=run.keep,
                total_params=run.total_params,
                checkpoint_bytes=run.checkpoint_bytes,
                seed=run.seed if last else seed,
                origin=origin,
                way=step / run.steps,
            )
            origin = step_name
    return compressions
