"""A tiny checkpoint of any family, made by the stages that a study runs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.tokens import Tokens
from rankwise.checkpoint import loading
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_group
from rankwise.files.atomic import write_json
from rankwise.model.weights import Weights
from rankwise.params.build import Build
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.params.runs import Run
from rankwise.records.model import ModelManifest
from rankwise.stages import allocate, build
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.families import CPU, LAYERS, ids, tiny, written
from tests.saved_models import save_tokenizer


@dataclass(frozen=True)
class Made:
    """A study's folder with a dense model, factors, an allocation and, once built, the checkpoint."""

    study: Path

    @property
    def folder(self) -> Path:
        return self.study / "data/checkpoints/it"

    @property
    def manifest(self) -> Path:
        return self.study / "data/checkpoints/it.json"

    @property
    def dense(self) -> ModelManifest:
        return ModelManifest.load(self.study / "data/prepare/model.json")

    def build(self, **settings) -> None:
        write_json(self.study / "build.json", Build(**settings).model_dump())
        build.command(
            params=self.study / "build.json",
            model=self.study / "data/prepare/model.json",
            factors=[self.study / "factors"],
            allocation=self.study / "allocation.json",
            calibration=self.study / "calibration",
            checkpoint=self.folder,
            out=self.manifest,
        )


def prepare(study: Path, case: str, method: str, **settings) -> Made:
    """Write everything that the build of a checkpoint at keep 0.6 reads."""
    model, family = tiny(case)
    dense = study / "dense"
    save_tokenizer(dense)
    manifest = written(dense, model, family)
    manifest.save(study / "data/prepare/model.json")
    model, _ = loading.load_dense(manifest)
    weight_of, asked = Weights(dense, family).get, CovarianceParams(pools=4, batch=2)
    [block] = gather_covariance(model, family, weight_of, ids(), [LAYERS], asked)
    [bent] = gather_gradients(model, family, weight_of, ids(), [LAYERS], FisherParams())
    decomposer = decomposers[method](**settings)
    factors = dict(factor_group(Weights(dense, family), block, decomposer, CPU, bent))
    GroupFactors(method, LAYERS, factors).save(study / "factors", torch.float32)
    starts = torch.arange(len(ids()))
    Tokens(ids(), starts, "calibration", "c", "0" * 64, 0).save(study / "calibration")
    write_json(study / "allocate.json", {"method": "uniform", "multiple": 1, "floor": 0.05})
    write_json(study / "compute.json", Compute().model_dump())
    write_json(study / "build.json", Build().model_dump())
    run = Run(decompose=method, allocate="uniform", keep=0.6)
    write_json(study / "runs.it.json", run.model_dump())
    allocate.command(
        params=study / "allocate.json",
        run=study / "runs.it.json",
        build=study / "build.json",
        compute=study / "compute.json",
        model=study / "data/prepare/model.json",
        factors=[study / "factors"],
        trials=study / "trials.jsonl",
        out=study / "allocation.json",
        work=study / "work.jsonl",
    )
    return Made(study)


def made(study: Path, case: str, method: str, **settings) -> Made:
    """Prepare and build it; random models are worse than counting tokens."""
    found = prepare(study, case, method, **settings)
    found.build(worse_than_unigram="record")
    return found
