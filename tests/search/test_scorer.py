"""The model that scores a search's trials gives the numbers of the model that is built."""

import resource

import numpy as np
import pytest
import torch

from rankwise.checkpoint import loading
from rankwise.decompose import decomposers
from rankwise.errors import RankwiseError
from rankwise.search.scorer import SearchModel
from tests.checkpoint.decomposed import build, decompose
from tests.conftest import random_ids


@pytest.fixture(params=sorted(decomposers))
def compressed(request, tmp_path):
    """Manifest, factors, choices and record of a tiny model, by every decomposer."""
    return decompose(request.param, tmp_path)


def as_masks(factors, kept):
    """A choice as masks that let its first components and entries pass; every linear here has one."""
    entries = 0 if factors.sparse is None else len(factors.sparse.places)
    return np.arange(factors.max_rank) < kept.rank, np.arange(entries) < kept.entries


def test_sliced_search_model_equals_the_built_one(compressed, tmp_path):
    manifest, factors, choices, _ = compressed
    built = build(manifest, factors, choices, tmp_path / "c")
    dense, _ = loading.load_dense(manifest)
    reference, _ = loading.load_dense(manifest)
    ids = random_ids(6, 12, seed=9)
    search = SearchModel(dense, factors, ids, batch=4)
    score = search.score(choices)
    with torch.no_grad():
        ours = built(ids).logits[:, :-1].double().log_softmax(-1)
        theirs = reference(ids).logits[:, :-1].double().log_softmax(-1)
    loss = -ours.gather(-1, ids[:, 1:, None]).mean()
    kl = (ours.exp() * (ours - theirs)).sum(-1).mean()
    assert score.perplexity == pytest.approx(float(loss.exp()), rel=1e-4)
    assert score.kl == pytest.approx(float(kl), rel=1e-3, abs=1e-6)
    each = -ours.gather(-1, ids[:, 1:, None]).mean((1, 2))
    torch.testing.assert_close(torch.tensor(score.losses).double(), each, rtol=1e-4, atol=1e-4)
    some = search.score(choices, [1, 5])
    assert some.losses == pytest.approx([score.losses[1], score.losses[5]], rel=1e-6)
    assert some.perplexity == pytest.approx(float(each[[1, 5]].mean().exp()), rel=1e-4)
    some_kl = (ours.exp() * (ours - theirs)).sum(-1)[[1, 5]].mean()
    assert some.kl == pytest.approx(float(some_kl), rel=1e-3, abs=1e-6)
    masks = {name: as_masks(factors[name], choices[name]) for name in factors}
    if not any(f.sparse is not None and f.sparse.refits is not None for f in factors.values()):
        # A mask lets through any entries, so it knows no values that were fitted to how many there are.
        masked = search.score_masks(masks)
        assert masked.perplexity == pytest.approx(score.perplexity, rel=1e-4)
    untouched = search.score(dict.fromkeys(choices))
    assert untouched.kl == pytest.approx(0, abs=1e-6)


def test_no_room_for_the_dense_model_s_predictions_is_a_sentence(compressed):
    """All room is taken at once: where a disk fills up under mapped memory, the kernel ends the process."""
    manifest, factors, _, _ = compressed
    dense, _ = loading.load_dense(manifest)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (1000, before[1])
    )  # answers as a full disk or a quota does
    try:
        with pytest.raises(RankwiseError, match=r"dense could not be written .*TMPDIR"):
            SearchModel(dense, factors, random_ids(4, 8), batch=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_trial_copies_no_weight_and_factors_nothing(compressed, monkeypatch):
    manifest, factors, choices, _ = compressed
    dense, _ = loading.load_dense(manifest)
    search = SearchModel(dense, factors, random_ids(4, 8), batch=4)
    for name in ("svd", "eigh", "qr", "cholesky"):
        monkeypatch.setattr(torch.linalg, name, lambda *_: pytest.fail("factored in a trial"))
    monkeypatch.setattr(torch.Tensor, "clone", lambda *_: pytest.fail("copied in a trial"))
    search.score(choices)
    assert search.sliced.keys() == factors.keys()
    for name, sliced in search.sliced.items():
        assert sliced.factors.right.data_ptr() == factors[name].right.data_ptr()
