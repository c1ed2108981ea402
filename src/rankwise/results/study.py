"""The results of a study, loaded once from its records for everything that shows or tracks them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rankwise.allocate.trials import read_rows
from rankwise.errors import RankwiseError, nearest
from rankwise.evaluate.paired import pair_runs
from rankwise.files.checksummed import read_json
from rankwise.params.names import DENSE
from rankwise.params.report import Report
from rankwise.records.allocation import AllocationRecord
from rankwise.records.items import Items
from rankwise.records.refine import RefineRecord
from rankwise.records.scores import Scores
from rankwise.records.speed import SpeedRecord
from rankwise.records.summary import Summary
from rankwise.results.files import InputManifests, StudyFiles, read_weights
from rankwise.results.run import RunResult, index_allocations, join_records

STAGES = {
    "scores": "evaluate",
    "items": "evaluate",
    "speed": "speed",
    "allocations": "allocate",
    "trials": "allocate",
    "refinements": "refine",
    "checkpoints": "build",
}
"""Kind of record → the stage that makes it, in the order in which they are listed."""


@dataclass(frozen=True)
class StudyResults:
    """All runs of a study whose records are all there, and a sentence for each of the others.

    `load` reads JSON records only. `runs` computes what costs more, intervals and spectra, at its first use.
    """

    settings: Report
    """How runs are compared."""
    measured: tuple[RunResult, ...]
    """The dense model first; without paired differences and decompositions, which `runs` adds."""
    gaps: dict[str, str] = field(default_factory=dict)
    """Run → which of its records is missing."""
    sections: dict[str, Any] = field(default_factory=dict)
    """Sections of params.yaml by name, such as ``sample.test``."""
    inputs: InputManifests = field(default_factory=InputManifests)
    factors: tuple[Path, ...] = ()
    """Files of the factors, for their spectra."""

    @classmethod
    def load(cls, files: StudyFiles, settings: Report) -> Self:
        """Read a study's records.

        Raises RankwiseError for a broken record, or where the dense model is the one that is missing.
        """
        gaps = _find_gaps(files)
        sections = {path.stem: read_json(path) for path in files.sections}
        results = _read_records(files, gaps)
        weights = dict(map(read_weights, _leave_out(files.checkpoints, gaps)))
        paths = _index_files(files)
        return cls(
            settings=settings,
            measured=tuple(
                replace(
                    result,
                    files=paths[result.name],
                    weights=tuple(weights.get(result.name, ())),
                    **_select_sections(result, sections),
                )
                for result in results
            ),
            gaps=gaps,
            sections=sections,
            inputs=InputManifests.load(files),
            factors=tuple(files.factors),
        )

    @cached_property
    def runs(self) -> list[RunResult]:
        """Every run with its paired differences from the dense model, and its decomposition if factors are given.

        Cost: ``settings.resamples`` means of every text and task of every run.
        """
        dense, *others = self.measured
        compared = [
            dense,
            *(
                replace(run, against_dense=pair_runs(run.items, dense.items, self.settings))
                for run in others
            ),
        ]
        if not self.factors:
            return compared
        from rankwise.results.decompositions import attach_decompositions  # imports torch

        return attach_decompositions(compared, self.factors)

    @property
    def tokens_per_second(self) -> dict[str, float]:
        """Run → prefill at the largest batch; empty in a study that times no run [tokens/s]."""
        return {run.name: run.speed.tokens_per_second for run in self.measured if run.speed}

    def find(self, run: str) -> RunResult:
        """Return a run as measured; RankwiseError where the study has none of the name."""
        by_name = {result.name: result for result in self.measured}
        if run in self.gaps:
            raise RankwiseError(self.gaps[run])
        if run not in by_name:
            raise RankwiseError(
                f"there are no scores of a run '{run}' in this study; {nearest(run, by_name)}"
            )
        return by_name[run]

    def summarise(self) -> Summary:
        """Return the table of the study."""
        return Summary(
            title=self.settings.title,
            confidence=self.settings.confidence,
            rows=[run.row for run in self.runs],
            gaps=self.gaps,
        )


def _read_records(files: StudyFiles, gaps: dict[str, str]) -> list[RunResult]:
    """Return the runs without a gap; add to ``gaps`` each refined run whose base has one."""
    searches = [
        (allocation, trials)
        for allocation, trials in _pair_with_trials(files)
        if allocation.is_file() and trials.is_file()
    ]
    allocations = [AllocationRecord.load(path) for path, _ in searches]
    refinements = [RefineRecord.load(path) for path in files.refinements if path.is_file()]
    compressed = index_allocations(allocations, refinements)
    for run in map(_name_run, files.scores):
        if run not in compressed and run != DENSE:
            gaps.setdefault(
                run, f"run '{run}' has no ranks: those of the run it started from are gone"
            )
    return join_records(
        [Scores.load(path) for path in _leave_out(files.scores, gaps)],
        [Items.load(path) for path in _leave_out(files.items, gaps)],
        [SpeedRecord.load(path) for path in _leave_out(files.speed, gaps)],
        allocations,
        refinements,
        {
            record.run: read_rows(trials)
            for record, (_, trials) in zip(allocations, searches, strict=True)
        },
    )


def _pair_with_trials(files: StudyFiles) -> list[tuple[Path, Path]]:
    """Return every allocation with its trials; RankwiseError where there are not as many of both."""
    if len(files.trials) != len(files.allocations):
        raise RankwiseError(
            f"expected one --trials for every --allocation, in the same order; "
            f"found {len(files.trials)} and {len(files.allocations)}"
        )
    return list(zip(files.allocations, files.trials, strict=True))


def _find_gaps(files: StudyFiles) -> dict[str, str]:
    """Return the runs that lack a file, each with a sentence that names the first one."""
    gaps: dict[str, str] = {}
    for kind, stage in STAGES.items():
        for path in getattr(files, kind):
            run = _name_run(path)
            if not path.is_file() and run != DENSE:
                gaps.setdefault(
                    run,
                    f"run '{run}' has no {kind}: {path} does not exist; "
                    f"its stage {stage} did not end, its log says why",
                )
    return gaps


def _leave_out(paths: Iterable[Path], gaps: dict[str, str]) -> list[Path]:
    """Return the files of the runs without a gap."""
    return [path for path in paths if _name_run(path) not in gaps]


def _name_run(path: Path) -> str:
    """Return the run that a file is of; the dense model's manifest bears another name."""
    name = path.name.removesuffix(".jsonl").removesuffix(".json").removesuffix(".trials")
    return DENSE if path.parent.name == "prepare" else name


def _index_files(files: StudyFiles) -> dict[str, dict[str, Path]]:
    """Return run → kind of record → its file."""
    by_run: dict[str, dict[str, Path]] = {}
    for kind in STAGES:
        for path in getattr(files, kind):
            by_run.setdefault(_name_run(path), {})[kind] = path
    return by_run


def _select_sections(result: RunResult, sections: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a run that sections fill: those that made it, and its origin."""
    own = {name: section for name, section in sections.items() if name.startswith("sample.")}
    if result.allocation is None:
        return {"sections": own}
    decompose = f"decompose.{result.allocation.decompose}"
    if decompose in sections:
        own[decompose] = sections[decompose]
    run = sections.get(f"runs.{result.allocation.run}", {})
    return {"sections": own, "origin": run.get("origin", DENSE)}
