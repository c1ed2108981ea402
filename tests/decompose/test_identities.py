"""The identities of the methods, in float64 against ten-line references."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.artifacts.statistics import InputStatistics
from rankwise.decompose.asvd import ASVD
from rankwise.decompose.pooled_pca import PooledPCA
from rankwise.decompose.svd import SVD
from rankwise.decompose.whitened_svd import WhitenedSVD
from rankwise.linalg.packed import whole
from rankwise.statistics.accumulators import Position, SiteSums

torch.set_default_dtype(torch.float32)
SHAPES = [(24, 24), (12, 40), (40, 12), (7, 31), (31, 7)]


def sample(tokens: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated inputs with a mean [tokens, width] float64."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=g, dtype=torch.float64)
    scale = torch.logspace(0, -2, width, dtype=torch.float64)
    x = torch.randn(tokens, width, generator=g, dtype=torch.float64) * scale @ mix
    return x + torch.randn(width, generator=g, dtype=torch.float64)


def weight_of(shape: tuple[int, int], seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def statistics(x: torch.Tensor, pools: int = 1) -> InputStatistics:
    means = torch.stack([part.mean(0) for part in x.chunk(pools)])
    return InputStatistics(x.T @ x, means, torch.tensor([len(x) // pools] * pools), x.abs().sum(0))


def one_pool_per_everything(x: torch.Tensor) -> InputStatistics:
    """Statistics whose `covariance` is the *uncentred* second moment: means set to zero."""
    n = len(x)
    means = torch.zeros(1, x.shape[1], dtype=x.dtype)
    return InputStatistics(x.T @ x * (n - 1) / n, means, torch.tensor([n]), x.abs().sum(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_uncentred_pca_equals_whitened_svd_equals_als(shape):
    """Identity 1: three routes, one optimum of ‖(W − Ŵ) X‖ at every rank."""
    x, w = sample(400, shape[1]), weight_of(shape)
    factors = PooledPCA(damping=0.0)(w, one_pool_per_everything(x), min(shape))
    cholesky = torch.linalg.cholesky(x.T @ x)
    u, s, vh = torch.linalg.svd(w @ cholesky, full_matrices=False)
    for rank in (1, 3, min(shape) - 1):
        pca = torch.linalg.norm((w - factors.left[:, :rank] @ factors.right[:rank]) @ x.T)
        low = (u[:, :rank] * s[:rank]) @ torch.linalg.solve_triangular(
            cholesky, vh[:rank], upper=False, left=False
        )
        whitened = torch.linalg.norm((w - low) @ x.T)
        left = torch.randn(
            shape[0], rank, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
        )
        for _ in range(3000):  # alternating least squares on Y ≈ left (right X)
            right = torch.linalg.lstsq(left, w).solution
            gram = right @ x.T @ x @ right.T
            left = torch.linalg.solve(gram, right @ x.T @ x @ w.T).T
        als = torch.linalg.norm((w - left @ right) @ x.T)
        assert pca == pytest.approx(float(whitened), rel=1e-9)
        assert pca == pytest.approx(float(als), rel=1e-5)
        assert pca.square() / 400 == pytest.approx(
            float(factors.spectrum[rank:].square().sum()), rel=1e-8
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_whitened_svd_is_the_cholesky_route(shape):
    """Identity 1 for the shipped method: SVD-LLM's own factors, to rounding, at every rank."""
    x, w = sample(400, shape[1]), weight_of(shape)
    factors = WhitenedSVD(damping=0.0)(w, statistics(x, 4), min(shape))
    cholesky = torch.linalg.cholesky(x.T @ x / 400)
    u, s, vh = torch.linalg.svd(w @ cholesky, full_matrices=False)
    torch.testing.assert_close(factors.spectrum, s, rtol=1e-6, atol=1e-8)
    for rank in range(1, min(shape)):
        theirs = (u[:, :rank] * s[:rank]) @ torch.linalg.solve_triangular(
            cholesky, vh[:rank], upper=False, left=False
        )
        ours = factors.left[:, :rank] @ factors.right[:rank]
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_asvd_scales_columns_by_the_root_of_the_mean_absolute_input():
    x, w = sample(400, 9), weight_of((6, 9))
    scale = x.abs().mean(0).sqrt()
    u, s, vh = torch.linalg.svd(w * scale, full_matrices=False)
    factors = ASVD()(w, statistics(x, 4), 6)
    torch.testing.assert_close(
        factors.left[:, :2] @ factors.right[:2], (u[:, :2] * s[:2]) @ vh[:2] / scale
    )
    plain, unscaled = (method(w, statistics(x), 6) for method in (SVD(), ASVD(alpha=0.0)))
    torch.testing.assert_close(unscaled.left, plain.left)


@pytest.mark.parametrize("dead", [[2], list(range(9))])
def test_asvd_says_how_many_channels_are_dead(dead):
    x, w = sample(50, 9), weight_of((6, 9))
    x[:, dead] = 0
    factors = ASVD()(w, statistics(x), 6)
    assert factors.notes["floored_channels"] == len(dead)
    torch.testing.assert_close(factors.left @ factors.right, w)


@pytest.mark.parametrize("shape", SHAPES)
def test_centred_with_bias_is_never_worse_than_uncentred(shape):
    """Identity 2, on the calibration data itself, un-pooled."""
    x, w = sample(300, shape[1]), weight_of(shape)
    y = x @ w.T
    centred = PooledPCA(damping=0.0)(w, statistics(x), min(shape))
    plain = PooledPCA(damping=0.0)(w, one_pool_per_everything(x), min(shape))
    for rank in range(1, min(shape)):
        with_bias = x @ centred.right[:rank].T @ centred.left[:, :rank].T + centred.bias(rank)
        without = x @ plain.right[:rank].T @ plain.left[:, :rank].T
        assert torch.linalg.norm(y - with_bias) <= torch.linalg.norm(y - without) * (1 + 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_pooled_output_pca_follows_from_pooled_inputs(shape):
    """Identity 3: eigenvectors of the pooled *output* covariance, computed from outputs themselves."""
    x, w = sample(240, shape[1]), weight_of(shape)
    y = x @ w.T
    pools = y.chunk(6)
    covariance = sum(torch.cov(pool.T) for pool in pools) / 6
    mean = sum(pool.mean(0) for pool in pools) / 6
    values, vectors = torch.linalg.eigh(covariance)
    factors = PooledPCA(damping=0.0)(w, statistics(x, 6), min(shape))
    rank = 4
    top = vectors.flip(1)[:, :rank]
    torch.testing.assert_close(factors.left[:, :rank] @ factors.left[:, :rank].T, top @ top.T)
    torch.testing.assert_close(factors.right[:rank], factors.left[:, :rank].T @ w)
    torch.testing.assert_close(factors.bias(rank), mean - top @ top.T @ mean)
    spectrum = values.flip(0)[: min(shape)].clamp_min(0).sqrt()
    torch.testing.assert_close(factors.spectrum, spectrum, rtol=1e-6, atol=1e-6)


@given(
    out=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 10**6), data=st.data()
)
@settings(max_examples=40, deadline=None)
def test_tail_sum_is_the_error(out, columns, seed, data):
    """Identity 4 for both decomposers, over random shapes and ranks."""
    x, w = sample(200, columns, seed), weight_of((out, columns), seed + 1)
    rank = data.draw(st.integers(1, min(out, columns)))
    plain = SVD()(w, statistics(x), min(out, columns))
    error = torch.linalg.norm(w - plain.left[:, :rank] @ plain.right[:rank]) ** 2
    assert float(error) == pytest.approx(
        float(plain.spectrum[rank:].square().sum()), rel=1e-8, abs=1e-9
    )
    pca = PooledPCA(damping=0.0)(w, statistics(x), min(out, columns))
    residual = (w - pca.left[:, :rank] @ pca.right[:rank]) @ (x - x.mean(0)).T
    tail = float(pca.spectrum[rank:].square().sum())
    assert float(residual.square().sum() / 199) == pytest.approx(tail, rel=1e-5, abs=1e-7)


def test_merging_equals_the_concatenation():
    """Identity 5: sums of parts are the sums of the whole, and so is everything derived."""
    x = sample(240, 9)
    whole = statistics(x, 6)
    merged = statistics(x[:80], 2).merge(statistics(x[80:], 4))
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.mean, x.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.second_moment, x.T @ x / 240, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.mean_absolute, x.abs().mean(0), rtol=1e-12, atol=1e-12)
    reference = sum(torch.cov(part.T) for part in x.chunk(6)) / 6
    torch.testing.assert_close(whole.covariance, reference, rtol=1e-10, atol=1e-12)


def test_running_sums_equal_the_reference():
    x = sample(64, 5).float()
    place, taken = Position(torch.device("cpu")), []
    sums = SiteSums(0, "mlp_in", 5, place)
    for place.pool, half in enumerate(x.split([24, 40])):
        sums.start()
        for part in half.split(8):
            sums.add(part)
        taken.append(sums.take()[0])
    found = taken[0].merge(taken[1])
    torch.testing.assert_close(whole(found.second), x.double().T @ x.double(), rtol=1e-5, atol=1e-5)
    assert found.pool_tokens.tolist() == [24, 40]
    means = torch.stack([half.double().mean(0) for half in x.split([24, 40])])
    torch.testing.assert_close(found.pool_means, means)
    torch.testing.assert_close(found.mean, x.double().mean(0))
    within = sum((len(half) - 1) * torch.cov(half.double().T) for half in x.split([24, 40])) / 62
    torch.testing.assert_close(found.covariance, within, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.mean_absolute, x.double().abs().mean(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "decomposer", [SVD(), PooledPCA(damping=1e-9), ASVD(), WhitenedSVD(damping=1e-9)]
)
def test_full_rank_reproduces_the_weight(shape, decomposer):
    """Identity 6."""
    x, w = sample(300, shape[1]), weight_of(shape)
    factors = decomposer(w, statistics(x), min(shape))
    torch.testing.assert_close(factors.left @ factors.right, w, rtol=1e-8, atol=1e-8)
    bias = factors.bias(min(shape))
    if bias is not None:
        torch.testing.assert_close(bias, torch.zeros_like(bias), rtol=0, atol=1e-8)
