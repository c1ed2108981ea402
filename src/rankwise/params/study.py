"""The whole of params.yaml, typed.

A stage never reads params.yaml. It reads ``data/params/<section>.json`` with `read_section`: one
section, defaults filled in. `rankwise.validation.params` reads the whole file and cuts it."""

import re
from typing import Annotated, Any

from pydantic import Field

from rankwise.params.build import Build
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.evaluate import Evaluate
from rankwise.params.fisher import FisherParams
from rankwise.params.prepare import Prepare
from rankwise.params.report import Report
from rankwise.params.runs import AnyRun, CompressedRun, RefinedRun, Run, expand_steps
from rankwise.params.sample import SampleRoles
from rankwise.params.section import Section
from rankwise.params.speed import Speed
from rankwise.params.track import Track

NAME = re.compile(r"[A-Za-z0-9](-?[A-Za-z0-9_])*")
"""Pattern of names of runs and sections. Two hyphens in a row are reserved for the steps of a run (`rankwise.params.runs.expand_steps`)."""


class Params(Section):
    """All sections of params.yaml."""

    prepare: Prepare
    sample: SampleRoles
    covariance: CovarianceParams = CovarianceParams()
    fisher: FisherParams = FisherParams()
    decompose: Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
    allocate: Annotated[dict[str, dict[str, Any] | None], Field(min_length=1)]
    refine: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    runs: Annotated[dict[str, AnyRun], Field(min_length=1)]
    build: Build = Build()
    evaluate: Evaluate = Evaluate()
    speed: Speed = Speed()
    report: Report = Report()
    track: Track = Track()
    compute: Compute = Compute()

    def method(self, kind: str, name: str) -> str:
        """Return the method of a section of decompose, allocate or refine: its own name, or its key ``method``."""
        section = getattr(self, kind)[name] or {}
        return str(section.get("method", name))

    def compressions(self) -> dict[str, CompressedRun]:
        """Return the runs that factor the dense model."""
        return {name: run for name, run in self.runs.items() if isinstance(run, CompressedRun)}

    def refinements(self) -> dict[str, RefinedRun]:
        """Return the runs that refine another run."""
        return {name: run for name, run in self.runs.items() if isinstance(run, RefinedRun)}

    def built(self) -> dict[str, Run]:
        """Return every compression, intermediate steps included; see `rankwise.params.runs.expand_steps`."""
        return expand_steps(self.compressions())

    def compressed(self, name: str) -> str:
        """Return the compression of a run: the run itself, or the one that it refines, directly or not."""
        run = self.runs[name]
        return self.compressed(run.of) if isinstance(run, RefinedRun) else name
