"""Predicted against measured loss: one matrix truncated at a time, all others dense.

    python bench/predicted.py FOLDER [--models embedded wikitext] [--methods fisher pooled_pca ...]

Statistics come from calibration text, the loss from search text that they never saw; test text is not
touched. For every linear and several budgets of it: what the decomposer's spectrum predicts (its squared
tail) and what the model's loss does. Figures of a method and model are kept in FOLDER as JSON and taken
up again; then the group of docs/results.md and docs/figures/predicted-<model>.svg are written from all
of FOLDER. Model ``wikitext`` is found under RANKWISE_DATA (default ../shared/data).
"""

import argparse
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from predicted_page import write_page
from tqdm import tqdm

from rankwise.allocate.problem import Candidate, Problem, Trials, TrialScore, finite
from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.tokens import Tokens
from rankwise.budget.costs import Choices, Kept, Matrix
from rankwise.budget.spending import Budget
from rankwise.checkpoint.loading import load_dense
from rankwise.decompose import decomposers
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_json
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.params.prepare import Corpus, Model
from rankwise.params.sample import Sample
from rankwise.params.target import Target
from rankwise.records.model import ModelManifest
from rankwise.search.problem import build_problem, read_matrices
from rankwise.search.scorer import SearchModel
from rankwise.stages import covariance, decompose, fisher, prepare_corpora, prepare_model, sample

METHODS = ("kfac", "whitened_svd", "pooled_pca")
SHARES = (0.2, 0.35, 0.5, 0.7, 0.9)
"""Budgets: parameters of the matrix that remain [-]."""
BATCH = 16
"""Search sequences in one forward pass."""


@dataclass(frozen=True)
class Setting:
    """One model and its text."""

    model: Model
    calibration: Corpus
    search: Corpus
    sequences: tuple[int, int]
    """Of calibration, of search."""
    length: int
    """[tokens]."""


def known(data: Path) -> dict[str, Setting]:
    """The models that are there."""
    embedded = Setting(
        Model(source="embedded", layers=5),
        Corpus(source="embedded/calibration.txt"),
        Corpus(source="embedded/search.txt"),
        sequences=(256, 32),
        length=128,
    )
    if not data.is_dir():
        return {"embedded": embedded}
    text = Corpus(source=str(data / "wikitext-2/train.txt"), characters=4_000_000)
    model = Model(source=str(data / "models/wiki-llama-5m"), layers=6)
    wikitext = Setting(model, text, text, sequences=(256, 16), length=256)
    return {"embedded": embedded, "wikitext": wikitext}


class Study:
    """The stages' files of one model, in a folder."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.folder, self.setting = folder, setting
        self.model = folder / "model.json"
        layers = setting.model.layers
        self.compute = self.section("compute", Compute(layers_per_job=layers))

    def section(self, name: str, value: Any) -> Path:
        """Write a section file as the stages read it."""
        path = self.folder / f"params/{name}.json"
        write_json(path, value if isinstance(value, dict) else value.model_dump(mode="json"))
        return path

    def gather(self) -> None:
        """Prepare, sample, and gather statistics on the dense model; nothing where that is done."""
        done, given = self.folder / "gathered.json", self.setting
        if done.exists() and read_json(done) == described(given):
            return
        corpora = {"calibration": given.calibration}
        if given.search != given.calibration:
            corpora["search"] = given.search
        prepare_model.command(self.section("prepare.model", given.model), self.model)
        texts = {name: corpus.model_dump() for name, corpus in corpora.items()}
        prepare_corpora.command(
            self.section("prepare.corpora", texts), self.folder / "corpora.json"
        )
        taken = None
        for role, sequences in zip(("calibration", "search"), given.sequences, strict=True):
            corpus = role if role in corpora else "calibration"
            asked = Sample(corpus=corpus, sequences=sequences, length=given.length)
            section, out = self.section(f"sample.{role}", asked), self.tokens(role)
            sample.command(section, self.model, self.folder / "corpora.json", out, exclude=taken)
            taken = out
        files = self.compute, self.model, self.model, self.tokens("calibration")
        section = self.section("covariance", CovarianceParams())
        work, out = self.folder / "work", [self.folder / "covariance.safetensors"]
        covariance.command(section, *files, work, out)
        section = self.section("fisher", FisherParams())
        fisher.command(section, *files, work, [self.folder / "fisher.safetensors"])
        write_json(done, described(given))

    def tokens(self, role: str) -> Path:
        """Windows of a role."""
        return self.folder / f"{role}.safetensors"

    def problem(self, method: str) -> Problem:
        """Factor every linear, and return the problem with the search text to score on."""
        out = self.folder / f"factors.{method}.safetensors"
        section = self.section(f"decompose.{method}", {"method": method, "dense": []})
        gradients = self.folder / "fisher.safetensors"
        decompose.command(
            section,
            self.compute,
            self.model,
            self.folder / "covariance.safetensors",
            out,
            gradients if decomposers[method].gradient else None,
        )
        manifest, factors = ModelManifest.load(self.model), GroupFactors.load(out).linears
        model, _ = load_dense(manifest)
        ids = Tokens.load(self.tokens("search")).ids
        matrices = read_matrices(manifest, manifest.dtype, factors)
        searched = SearchModel(model, factors, ids, BATCH)
        return build_problem(
            Budget(matrices, Target("keep", 1.0)), manifest, factors, searched, Trials()
        )


def measure(problem: Problem, shares: Iterable[float] = SHARES) -> list[dict[str, Any]]:
    """Return a row a linear and share: what was predicted, what the loss did [nats/token]."""
    dense: Choices = dict.fromkeys(problem.matrices)
    before = problem.scored(dense)
    return [
        row(candidate, matrix, share, choice, (before, problem.scored(dense | {name: choice})))
        | {"linear": name}
        for name, candidate in tqdm(problem.candidates.items(), "linears", disable=None)
        for matrix in [problem.matrices[name]]
        for share in shares
        for choice in [choice_of(matrix, share)]
    ]


def choice_of(matrix: Matrix, share: float) -> Kept:
    """Return the largest rank, and the entries that go with it, within a share of the dense matrix."""
    budget = share * matrix.parameters(None)
    ladder = matrix.ladder or [Kept(rank) for rank in range(matrix.max_rank + 1)]
    return max((c for c in ladder if matrix.parameters(c) <= budget), key=matrix.parameters)


def row(
    candidate: Candidate,
    matrix: Matrix,
    share: float,
    choice: Kept,
    scores: tuple[TrialScore, TrialScore],
) -> dict[str, Any]:
    """What is recorded of one truncation; the standard error is that of the mean over sequences, paired."""
    before, after = (np.array(score.losses) for score in scores)
    change = after - before
    return {
        "layer": candidate.layer,
        "kind": candidate.kind,
        "share": share,
        **asdict(choice),
        "keep": matrix.parameters(choice) / matrix.parameters(None),
        "predicted": candidate.loss(choice),
        "measured": finite(float(change.mean())),
        "standard_error": finite(float(change.std(ddof=1) / len(change) ** 0.5)),
        "kl": finite(scores[1].kl),
    }


def run(folder: Path, name: str, setting: Setting, method: str) -> None:
    """Measure one method on one model, unless that is done."""
    out, asked = folder / f"{name}.{method}.json", described(setting) | {"shares": list(SHARES)}
    if out.exists() and read_json(out)["setting"] == asked:
        return
    study = Study(folder / name, setting)
    study.gather()
    rows = measure(study.problem(method))
    facts = {"model": name, "method": method, "measure": decomposers[method].measure.name}
    write_json(out, {**facts, "setting": asked, "rows": rows})


def described(setting: Setting) -> dict[str, Any]:
    """A setting as records hold it, without the folders of this machine."""
    return {"sequences": list(setting.sequences), "length": setting.length}


def main() -> None:
    settings = known(Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", choices=settings, default=list(settings))
    parser.add_argument("--methods", nargs="+", choices=list(decomposers), default=METHODS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.models:
        for method in given.methods:
            run(given.folder, name, settings[name], method)
    write_page(given.folder)


if __name__ == "__main__":
    main()
