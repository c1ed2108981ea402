"""Experts taken apart: the library's outputs, statistics of their own tokens, and of too few."""

import pytest
import torch

from rankwise.decompose.factoring import factor_group
from rankwise.decompose.svd import SVD
from rankwise.hub.experts import separate
from rankwise.model.weights import Weights
from rankwise.params.covariance import CovarianceParams
from rankwise.statistics.covariance import gather_covariance
from tests.conftest import weight_of
from tests.families import CPU, LAYERS, ids, separated, tiny


def test_experts_apart_are_the_library_s_experts():
    """Outputs and gradients of inputs and routing weights, where experts are used unequally."""
    for name in ("mixtral-MixtralForCausalLM", "qwen2_moe-Qwen2MoeForCausalLM"):
        found = []
        for model, _ in (tiny(name), separated(name)):
            experts = model.get_submodule("model.layers.0.mlp.experts")
            generator = torch.Generator().manual_seed(5)
            x = torch.randn(11, 32, generator=generator).requires_grad_()
            chosen = torch.stack([torch.randperm(3, generator=generator)[:2] for _ in range(11)])
            weights = torch.rand(11, 2, generator=generator).requires_grad_()
            y = experts(x, chosen, weights)
            y.square().sum().backward()
            found.append((y, x.grad, weights.grad))
        for theirs, ours in zip(*found, strict=True):
            torch.testing.assert_close(theirs, ours)


@pytest.mark.parametrize("in_a_pool", [0, 1])
def test_an_expert_that_the_text_says_nothing_of_stays_dense(tmp_path, caplog, in_a_pool):
    """It is named with what to do, and its linears are no candidates; one token a pool says nothing yet."""
    model, family = tiny("mixtral-MixtralForCausalLM")
    model.save_pretrained(tmp_path)

    def route(_module, _inputs, output):
        """Send to expert 0 what was meant for expert 3, but for the first tokens of a batch."""
        logits, weights, chosen = output
        chosen = torch.where(chosen == 3, 0, chosen)
        chosen[:in_a_pool, 0] = 3
        return logits, weights, chosen

    model.get_submodule("model.layers.1.mlp.gate").register_forward_hook(route)
    separate(model, family.fused(LAYERS))
    asked = CovarianceParams(pools=4, batch=2)
    [block] = gather_covariance(model, family, weight_of(model), ids(), [LAYERS], asked)
    assert f"layer 1, expert 3: the calibration text sends it {4 * in_a_pool} tokens" in caplog.text
    assert "layer 1, expert 2" not in caplog.text
    unknown = block.sites[1, "expert_3_in"]
    assert unknown.pool_tokens.tolist() == [in_a_pool] * 4
    assert bool(unknown.pool_means.isfinite().all())
    factors = dict(factor_group(Weights(tmp_path, family), block, SVD(), CPU))
    missing = {linear.name for linear in family.linears(LAYERS)} - set(factors)
    assert missing == {f"model.layers.1.mlp.experts.3.{kind}_proj" for kind in ("gate_up", "down")}
