"""The published algorithm and ours come to the same compressed model."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import reference

from rankwise.artifacts.factors import GroupFactors
from rankwise.budget.costs import Kept
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.pooled_pca import PooledPCA
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.covariance import CovarianceParams
from rankwise.search.scorer import SearchModel
from rankwise.statistics.covariance import gather_covariance
from tests.conftest import random_ids, tiny_llama, weight_of

ARCHITECTURE = "LlamaForCausalLM"


def test_ours_equals_the_published_algorithm(tmp_path):
    model = tiny_llama(intermediate_size=88)
    model.save_pretrained(tmp_path)
    family, ids = family_of(ARCHITECTURE), random_ids()
    asked = CovarianceParams(pools=4, batch=2, moments="smaller")
    [block] = gather_covariance(model, family, weight_of(model), ids, [[0, 1]], asked)
    method = PooledPCA(damping=0.0)
    factors = dict(factor_group(Weights(tmp_path, family), block, method, torch.device("cpu")))
    GroupFactors("pooled_pca", [0, 1], factors).save(tmp_path / "f", torch.float32)
    found = reference.decompose(reference.gather(model, list(factors), ids, 4, 2))
    for name, ours in factors.items():
        for rank in (2, 5):
            theirs = found[name][0][:, :rank]
            torch.testing.assert_close(
                ours.left[:, :rank] @ ours.left[:, :rank].T, theirs @ theirs.T, rtol=1e-3, atol=1e-4
            )
    ranks = dict.fromkeys(factors, 6)
    theirs = reference.trial(model, found, ranks)
    stored = GroupFactors.load(tmp_path / "f").linears
    text = random_ids(4, 12, seed=3)
    search = SearchModel(tiny_llama(intermediate_size=88), stored, text, batch=4)
    ours = search.score({name: Kept(rank) for name, rank in ranks.items()})
    with torch.no_grad():
        logits = theirs(text).logits[:, :-1].log_softmax(-1)
    loss = -logits.gather(-1, text[:, 1:, None]).mean()
    assert ours.perplexity == pytest.approx(float(loss.exp()), rel=1e-4)
