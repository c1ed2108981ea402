"""Statistics on the smaller side, or of channels alone, serve a method as well as whole ones."""

from dataclasses import replace

import pytest
import torch

from rankwise.artifacts.gradients import GroupFisher
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_group, largest_rank
from rankwise.errors import RankwiseError
from rankwise.linalg import factorisations
from rankwise.linalg.packed import whole
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients
from tests.conftest import random_ids, tiny_llama, weight_of

ARCHITECTURE = "LlamaForCausalLM"
FAMILY = family_of(ARCHITECTURE)
DOWN = "model.layers.1.mlp.down_proj"
MODEST = [name for name in decomposers if decomposers[name].moments < RequiredStatistics.INPUTS]
"""Methods that need less than the whole second moments of their inputs."""


@pytest.fixture(scope="module")
def model():
    """Its down-projection is wide enough for the output to be the smaller side, and for rounding not to matter."""
    return tiny_llama(intermediate_size=88).double()


@pytest.fixture(scope="module")
def blocks(model):
    """Statistics of layer 1 at every level of detail."""
    return {
        level: gather_covariance(
            model, FAMILY, weight_of(model), random_ids(), [[1]],
            CovarianceParams(pools=4, batch=3, moments=str(level)),
        )[0]
        for level in RequiredStatistics
    }  # fmt: skip


@pytest.fixture(scope="module")
def gradients(model):
    [block] = gather_gradients(model, FAMILY, weight_of(model), random_ids(), [[1]], FisherParams())
    return block.linears


def given(block, linear, gradients):
    """What a decomposer sees of one linear."""
    return replace(
        block.sites[1, linear.site],
        outputs=block.outputs.get(linear.name),
        gradient=gradients[linear.name],
    )


def test_output_sums_are_those_of_the_outputs(model, blocks):
    seen = []
    hook = model.get_submodule(DOWN).register_forward_hook(lambda *io: seen.append(io[2]))
    with torch.no_grad():
        model(random_ids())
    hook.remove()
    y = torch.cat(seen).flatten(0, 1)
    block = blocks[RequiredStatistics.SMALLER]
    assert list(block.outputs) == [DOWN]
    torch.testing.assert_close(whole(block.outputs[DOWN]), y.T @ y)
    assert block.sites[1, "mlp_out"].squares is not None
    assert all(block.sites[1, site].squares is None for site in ("mlp_in", "attention_in"))
    inputs = replace(block.sites[1, "mlp_out"], outputs=block.outputs[DOWN])
    pools = [torch.cov(pool.T) for pool in y.chunk(4)]
    torch.testing.assert_close(
        inputs.output_moment(weight_of(model)(DOWN), 0.0, centred=True), sum(pools) / 4
    )


@pytest.mark.parametrize("name", MODEST)
def test_what_a_method_declares_is_all_that_it_needs(name, model, blocks, gradients):
    method = decomposers[name]()
    for linear in FAMILY.linears([1]):
        if linear.kind not in ("k", "up", "down"):
            continue
        weight = weight_of(model)(linear.name)
        rank = largest_rank(weight.shape)
        of_inputs, little = (
            method(weight, given(blocks[level], linear, gradients), rank)
            for level in (RequiredStatistics.INPUTS, method.moments)
        )
        torch.testing.assert_close(little.spectrum, of_inputs.spectrum, rtol=1e-6, atol=1e-9)
        for r in (1, rank // 2, rank):
            low, expected = (f.left[:, :r] @ f.right[:r] for f in (little, of_inputs))
            torch.testing.assert_close(low, expected, rtol=1e-5, atol=1e-7)
            if of_inputs.offset is not None:
                torch.testing.assert_close(little.bias(r), of_inputs.bias(r), rtol=1e-5, atol=1e-7)


def test_asking_for_more_than_was_gathered_is_refused(blocks):
    with pytest.raises(RankwiseError, match="88 inputs the statistics hold the mean squares alone"):
        _ = blocks[RequiredStatistics.SMALLER].sites[1, "mlp_out"].second_moment


def test_a_file_holds_one_triangle(blocks, tmp_path):
    sizes = {}
    for level, block in blocks.items():
        block.save(tmp_path / "b")
        raw = (tmp_path / "b").read_bytes()
        sizes[level] = len(raw) - 8 - int.from_bytes(raw[:8], "little")  # without the header
        again = GroupStatistics.load(tmp_path / "b")
        for site, inputs in block.sites.items():
            for part in ("second", "pool_means", "absolute"):
                found, given = (getattr(of, part) for of in (again.sites[site], inputs))
                torch.testing.assert_close(whole(found), whole(given), rtol=1e-12, atol=1e-12)
        assert again.outputs.keys() == block.outputs.keys()
    triangles = 8 * (3 * 32 * 33 // 2 + 88 * 89 // 2)
    assert triangles < sizes[RequiredStatistics.INPUTS] < triangles + 12_000
    assert (
        sizes[RequiredStatistics.CHANNELS]
        < 12_000
        < sizes[RequiredStatistics.SMALLER]
        < sizes[RequiredStatistics.INPUTS]
    )


def test_linears_of_a_site_share_one_whitening(model, blocks, gradients, tmp_path, monkeypatch):
    """gate and up have more outputs than inputs; ours needs the same root of the same covariance for both."""
    model.float().save_pretrained(tmp_path)
    model.double()
    found = []

    def counted(matrix, whitening=factorisations.whitening_root):
        found.append(len(matrix))
        return whitening(matrix)

    monkeypatch.setattr(factorisations, "whitening_root", counted)
    cpu = torch.device("cpu")
    bent = GroupFisher([1], gradients)
    for name, times in {"pooled_pca": 0, "kfac": 1, "kfac_sparse": 4, "svd": 0}.items():
        found.clear()
        method = decomposers[name]()
        dict(factor_group(Weights(tmp_path, FAMILY), blocks[method.moments], method, cpu, bent))
        assert len(found) == times
