"""A tiny model decomposed by any method, and checkpoints built from it."""

import torch

from rankwise.allocate.problem import Trials
from rankwise.allocate.uniform import Uniform
from rankwise.artifacts.factors import GroupFactors
from rankwise.budget.spending import Budget
from rankwise.checkpoint import loading, saving
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_group
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.params.runs import Run
from rankwise.params.target import Target
from rankwise.search.problem import build_problem, build_record, read_matrices
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.saved_models import ARCHITECTURE, save_model

CPU = torch.device("cpu")


def statistics_of(model, ids, blocks, batch=4):
    asked = CovarianceParams(pools=4, batch=batch)
    return gather_covariance(model, family_of(ARCHITECTURE), weight_of(model), ids, blocks, asked)


def decompose(method_name, folder):
    """Decompose a tiny model with attention biases; return manifest, factors, choices and the record of them."""
    model = tiny_llama(attention_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
    manifest = save_model(model, folder / "dense")
    family = family_of(ARCHITECTURE)
    asked = CovarianceParams(pools=4, batch=2)
    blocks = gather_covariance(model, family, weight_of(model), random_ids(), [[0, 1]], asked)
    method = decomposers[method_name]()
    [bent] = gather_gradients(
        model, family, weight_of(model), random_ids(), [[0, 1]], FisherParams()
    )
    factors = dict(factor_group(Weights(folder / "dense", family), blocks[0], method, CPU, bent))
    GroupFactors(method_name, [0, 1], factors).save(folder / "factors", torch.float32)
    factors = GroupFactors.load(folder / "factors").linears
    matrices = read_matrices(manifest, "float32", factors)
    problem = build_problem(
        Budget(matrices, Target("keep", 0.7)), manifest, factors, None, Trials()
    )
    allocator = Uniform(multiple=1, floor=0.05)
    choices = allocator(problem)
    run = Run(decompose=method_name, allocate="uniform", keep=0.7)
    return (
        manifest,
        factors,
        choices,
        build_record("it", run, allocator, problem, choices, manifest),
    )


def build(manifest, factors, choices, folder):
    dense, tokenizer = loading.load_dense(manifest)
    for name, kept in choices.items():
        if kept is not None:
            saving.replace_linear(dense, name, factors[name], kept)
    saving.save_checkpoint(dense, tokenizer, folder, "it", torch.float32)
    return dense
