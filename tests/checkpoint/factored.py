"""A tiny dense model with factors of it, and runs that the stages allocate and build."""

import torch

from rankwise.allocate import allocators
from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.tokens import Tokens
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_group
from rankwise.files.atomic import write_json
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.build import Build
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.records.allocation import AllocationRecord
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.stages import allocate, build
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.saved_models import ARCHITECTURE, save_model

METHODS = {"svd": {}, "pooled_pca": {"dense": ["v"]}, "kfac_sparse": {"multiple": 1}}


def factor(folder):
    """Write a tiny dense model and factors of it: by a method with no bias, with biases, with sparse parts."""
    model = tiny_llama(attention_bias=True, hidden_size=48, num_attention_heads=4)
    save_model(model, folder / "dense").save(folder / "model.json")
    family, ids = family_of(ARCHITECTURE), random_ids()
    asked = CovarianceParams(pools=4, batch=4)
    [block] = gather_covariance(model, family, weight_of(model), ids, [[0, 1]], asked)
    [bent] = gather_gradients(model, family, weight_of(model), ids, [[0, 1]], FisherParams())
    starts = torch.arange(len(ids))
    Tokens(ids, starts, "calibration", "c", "0" * 64, 0).save(folder / "calibration")
    for name, settings in METHODS.items():
        method = decomposers[name](**settings)
        cpu = torch.device("cpu")
        factors = dict(factor_group(Weights(folder / "dense", family), block, method, cpu, bent))
        GroupFactors(name, [0, 1], factors).save(folder / name, torch.float32)
    write_json(folder / "compute.json", Compute().model_dump())


def compress(study, method, run, *, dtype=None, allocator="uniform", multiple=1):
    """Allocate and build one run through the stages; return record, manifest and folder."""
    section = allocators[allocator](multiple=multiple, floor=0.05).model_dump(mode="json")
    write_json(study / "allocate.json", {"method": allocator, **section})
    write_json(study / "build.json", Build(dtype=dtype, worse_than_unigram="record").model_dump())
    write_json(study / "runs.it.json", run.model_dump())
    allocate.command(
        params=study / "allocate.json",
        run=study / "runs.it.json",
        build=study / "build.json",
        compute=study / "compute.json",
        model=study / "model.json",
        factors=[study / method],
        trials=study / "trials.jsonl",
        out=study / "allocation.json",
        work=study / "work.jsonl",
    )
    paths = {"params": study / "build.json", "model": study / "model.json"}
    build.command(
        **paths,
        factors=[study / method],
        allocation=study / "allocation.json",
        calibration=study / "calibration",
        checkpoint=study / "it",
        out=study / "it.json",
    )
    record = AllocationRecord.load(study / "allocation.json")
    return record, CheckpointManifest.load(study / "it.json"), study / "it"
