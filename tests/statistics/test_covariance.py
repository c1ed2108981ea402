"""Statistics of a model in memory against a reference, and NaN named by its place."""

import pytest
import torch

from rankwise.errors import RankwiseError
from rankwise.linalg.packed import whole
from rankwise.model.families import family_of
from rankwise.params.covariance import CovarianceParams
from rankwise.statistics.covariance import gather_covariance
from tests.checkpoint.decomposed import statistics_of
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.saved_models import ARCHITECTURE


def test_statistics_equal_a_reference_and_shards_merge():
    model = tiny_llama().double()
    family = family_of(ARCHITECTURE)
    ids = random_ids()
    seen = {}

    def keep(name):
        return lambda _, x: seen.setdefault(name, []).append(x[0].reshape(-1, x[0].shape[-1]))

    hook = model.get_submodule("model.layers.1.mlp.down_proj").register_forward_pre_hook(
        keep("down")
    )
    model(ids)
    hook.remove()
    x = torch.cat(seen["down"])
    asked = CovarianceParams(pools=4, batch=3)
    [block] = gather_covariance(model, family, weight_of(model), ids, [[0, 1]], asked)
    found = block.sites[1, "mlp_out"]
    torch.testing.assert_close(whole(found.second), x.T @ x)
    torch.testing.assert_close(found.pool_means, x.view(4, -1, x.shape[-1]).mean(1))
    asked = CovarianceParams(pools=2, batch=3)
    halves = [
        gather_covariance(model, family, weight_of(model), part, [[0, 1]], asked)[0]
        for part in ids.split(8)
    ]
    merged = halves[0].sites[1, "mlp_out"].merge(halves[1].sites[1, "mlp_out"])
    torch.testing.assert_close(merged.covariance, found.covariance)


def test_similarity_is_the_mean_cosine_around_every_sublayer():
    model = tiny_llama().double()
    ids = random_ids()
    states = {}

    def keep(name):
        return lambda _, inputs: states.update({name: inputs[0]})

    for name, path in {"before": "", "between": "post_attention_layernorm"}.items():
        module = model.get_submodule(f"model.layers.1.{path}".rstrip("."))
        module.register_forward_pre_hook(keep(name))
    model.model.norm.register_forward_pre_hook(keep("behind"))
    with torch.no_grad():
        model(ids)

    def cosine(a, b):
        return float(torch.cosine_similarity(states[a], states[b], dim=-1).mean())

    expected = {
        (1, "attention"): cosine("before", "between"),
        (1, "mlp"): cosine("between", "behind"),
    }
    blocks = statistics_of(model, ids, [[0], [1]], batch=3)
    assert list(blocks[0].similarity) == [(0, "attention"), (0, "mlp")]
    assert blocks[1].similarity == pytest.approx(expected, rel=1e-6)


def test_nan_in_the_model_names_layer_site_and_sequence():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = float("nan")
    with pytest.raises(
        RankwiseError, match=r"layer 1, site mlp_out: inputs are NaN.*in sequence 0 \(pool 0\)"
    ):
        statistics_of(model, random_ids(), [[0, 1]])
    model = tiny_llama()
    model.model.embed_tokens.weight.data[66] = float("nan")
    ids = random_ids().clamp_max(65)
    ids[11, 7:] = 66
    with pytest.raises(
        RankwiseError,
        match=r"layer 0, site attention_in: inputs are NaN.*in sequence 11 \(pool 2\)",
    ):
        statistics_of(model, ids, [[0, 1]], batch=3)
    model = tiny_llama()
    model.model.layers[1].mlp.down_proj.weight.data[3, 3] = float("inf")
    with pytest.raises(
        RankwiseError, match=r"layer 1, sublayer mlp: hidden states are NaN.*in sequence 0"
    ):
        statistics_of(model, random_ids(), [[0, 1]])
