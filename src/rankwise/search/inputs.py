"""Inputs of an allocation, read from files: the same for a complete search, its rounds and its trials."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rankwise.allocate import allocators
from rankwise.allocate.base import Allocator, ScoringAllocator
from rankwise.allocate.problem import Problem, Trials
from rankwise.allocate.sequential import SequentialSearch
from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.artifacts.tokens import Tokens
from rankwise.checkpoint.loading import load_dense
from rankwise.errors import RankwiseError
from rankwise.model.device import set_up_device
from rankwise.params.build import Build
from rankwise.params.compute import Compute
from rankwise.params.runs import Run
from rankwise.params.section import read_method, read_section
from rankwise.records.model import ModelManifest
from rankwise.search.problem import build_budget, build_problem, read_matrices
from rankwise.search.scorer import SearchModel


@dataclass(frozen=True)
class SearchInputs:
    """Inputs of one run's allocation: the run, its allocator, the model and its factors."""

    asked: Run
    allocator: Allocator
    manifest: ModelManifest
    dtype: str
    """Precision of the checkpoint."""
    factors: dict[str, Factors]
    device: torch.device

    @classmethod
    def read(
        cls, params: Path, run: Path, build: Path, compute: Path, model: Path, factors: list[Path]
    ) -> "SearchInputs":
        """Read the section files, the manifest and the factors of all layer groups."""
        run_section = read_section(run, Run)
        allocator = read_method(params, allocators)
        if run_section.seed is not None:
            allocator = allocator.model_copy(update={"seed": run_section.seed})
        manifest = ModelManifest.load(model)
        return cls(
            run_section,
            allocator,
            manifest,
            read_section(build, Build).dtype or manifest.dtype,
            {n: f for path in factors for n, f in GroupFactors.load(path).linears.items()},
            set_up_device(read_section(compute, Compute)),
        )

    @property
    def scoring(self) -> ScoringAllocator:
        """The allocator; raises RankwiseError unless it scores candidates."""
        if not isinstance(self.allocator, ScoringAllocator):
            raise RankwiseError(f"{self.asked.allocate} does not score candidates; name a search")
        return self.allocator

    @property
    def search(self) -> SequentialSearch:
        """The allocator; raises RankwiseError unless it is a search in rounds."""
        if not isinstance(self.allocator, SequentialSearch):
            raise RankwiseError(
                f"{self.asked.allocate} is not a search in rounds; name one that has 'q'"
            )
        return self.allocator

    def search_model(self, search: Path | None) -> SearchModel:
        """Load the dense model and the search windows for scoring."""
        if search is None:
            raise RankwiseError(
                f"{self.asked.allocate} scores candidates: --search names the windows"
            )
        dense, _ = load_dense(self.manifest)
        ids = Tokens.load(search).ids
        return SearchModel(dense.to(self.device), self.factors, ids, self.scoring.batch)

    def problem(
        self,
        searched: SearchModel | None = None,
        rows: Trials | None = None,
        similarity: dict[tuple[int, str], float] | None = None,
    ) -> Problem:
        """Return the allocation problem; only with a search model can it score candidates."""
        matrices = read_matrices(self.manifest, self.dtype, self.factors)
        budget = build_budget(self.asked, self.manifest, self.dtype, matrices)
        return build_problem(
            budget, self.manifest, self.factors, searched, rows or Trials(), similarity
        )
