"""Every tensor stage on a device, in the model's precision, beside the CPU in float64."""

from dataclasses import replace

import pytest
import torch

from rankwise.budget.costs import Kept
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_linear, largest_rank
from rankwise.evaluate.perplexity import window_losses
from rankwise.linalg.packed import whole
from rankwise.model.families import family_of
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.search.scorer import SearchModel
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]
FAMILY = family_of("LlamaForCausalLM")
CPU = torch.device("cpu")
PRECISE = {"float32": 1e-4, "bfloat16": 3e-2}
"""Largest difference from float64, relative to the largest number of a matrix."""


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    return torch.device(request.param)


def model_on(device, dtype="float32"):
    return tiny_llama(intermediate_size=88).to(device, getattr(torch, dtype))


def statistics(model):
    asked = CovarianceParams(pools=4, batch=3, moments="inputs")
    return gather_covariance(model, FAMILY, weight_of(model), random_ids(), [[0, 1]], asked)[0]


def gradients(model):
    asked = FisherParams(batch=4)
    return gather_gradients(model, FAMILY, weight_of(model), random_ids(), [[0, 1]], asked)[0]


def same(found, expected, tolerance):
    assert float((found.cpu() - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.fixture(scope="module")
def reference():
    exact = model_on(CPU, "float64")
    return statistics(exact), gradients(exact)


@pytest.mark.parametrize("dtype", PRECISE)
def test_statistics_are_those_of_float64(device, dtype, reference):
    found = statistics(model_on(device, dtype))
    for key, expected in reference[0].sites.items():
        same(whole(found.sites[key].second), whole(expected.second), PRECISE[dtype])
        same(found.sites[key].mean, expected.mean, PRECISE[dtype])
    assert found.similarity == pytest.approx(reference[0].similarity, abs=PRECISE[dtype])


@pytest.mark.parametrize("dtype", PRECISE)
def test_gradients_are_those_of_float64(device, dtype, reference):
    found = gradients(model_on(device, dtype))
    for name, expected in reference[1].linears.items():
        same(whole(found.linears[name].second), whole(expected.second), 3 * PRECISE[dtype])
        same(found.linears[name].squares, expected.squares, 3 * PRECISE[dtype])


@pytest.mark.parametrize("method", sorted(decomposers))
def test_factors_leave_the_error_that_they_leave_on_the_cpu(device, method, reference):
    """Of two eigenvectors for one value either may come; what is left of the weight is the same."""
    exact = model_on(CPU, "float64")
    block, bent = reference
    for linear in FAMILY.linears([1]):
        weight = exact.get_submodule(linear.name).weight.detach()
        inputs = replace(block.sites[1, linear.site], gradient=bent.linears[linear.name])
        given = (weight, inputs), (weight.to(device), inputs.to(device))
        expected, found = (
            factor_linear(linear, *each, decomposers[method]()).to(CPU) for each in given
        )
        torch.testing.assert_close(
            found.weight_errors, expected.weight_errors, rtol=1e-6, atol=1e-9
        )


def test_a_trial_scores_what_the_cpu_scores(device, reference):
    scores = []
    for there in (CPU, device):
        model = model_on(there)
        factors = {
            linear.name: factor_linear(
                linear,
                weight_of(model_on(CPU, "float64"))(linear.name),
                reference[0].sites[linear.layer, linear.site],
                decomposers["whitened_svd"](),
            ).stored(torch.float32)
            for linear in FAMILY.linears([0, 1])
        }
        choices = {name: Kept(largest_rank(f.shape) // 2) for name, f in factors.items()}
        scores.append(SearchModel(model, factors, random_ids(), 5).score(choices))
        losses = window_losses(model, random_ids(), 5)
        assert scores[-1].losses == pytest.approx(losses.mean(1).tolist(), rel=1e-4)
    cpu, other = scores
    assert other.perplexity == pytest.approx(cpu.perplexity, rel=1e-4)
    assert other.kl == pytest.approx(cpu.kl, rel=1e-3)
