"""Eigenvectors by float32 where that is enough: as good as float64's, for spectra as activations have them."""

import pytest
import torch
from torch import Tensor

from rankwise.linalg import eigen

SIZE = eigen.LARGE
PLENTY = 100 * SIZE
"""Vectors that a moment is of."""
STEP = torch.arange(1, SIZE + 1, dtype=torch.float64)
SPECTRA = {
    "flat": STEP.flip(0) / SIZE + 0.1,
    "as a power": STEP**-2,
    "massive": torch.cat([torch.tensor([1e8, 3e6, 1e6, 1e3]).double(), 1 / STEP[:-4]]),
    "many massive": torch.cat([torch.logspace(8, 2, 20).double(), 1 / STEP[:-20]]),
    "exponential": torch.exp(-STEP / 100),
    "half of it nothing": (STEP < SIZE / 2).double(),
    "rank 1": (STEP == 1).double(),
    "nothing": torch.zeros(SIZE).double(),
    "too many massive": torch.cat([torch.logspace(8, 5, 200).double(), 1 / STEP[:-200]]),
}
IN_FLOAT64 = {"half of it nothing", "rank 1", "nothing", "too many massive"}


def matrix_of(spectrum: Tensor) -> Tensor:
    seeded = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=seeded, dtype=torch.float64))[0]
    matrix = (basis * spectrum) @ basis.T
    return (matrix + matrix.T) / 2


def left_by_projection(matrix: Tensor, vectors: Tensor) -> Tensor:
    """tr((I − U Uᵀ) M (I − U Uᵀ)) for the last 1 … n columns of ``vectors``, orthonormal or not."""
    u = vectors.flip(1)
    pairs = (u.T @ matrix @ u) * (u.T @ u)
    gained = 2 * (u * (matrix @ u)).sum(0).cumsum(0)
    return matrix.trace() - gained + (2 * pairs.tril(-1).sum(1) + pairs.diagonal()).cumsum(0)


@pytest.mark.parametrize("name", SPECTRA)
def test_projections_leave_as_little_as_they_can(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectrum, solved = SPECTRA[name].sort(descending=True).values, []
    matrix = matrix_of(spectrum)
    real = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda m: solved.append((m.dtype, len(m))) or real(m))
    values, vectors = eigen.eigenpairs(matrix, PLENTY)
    assert ((torch.float64, SIZE) in solved) == (name in IN_FLOAT64)
    least = spectrum.sum() - spectrum.cumsum(0)
    excess = left_by_projection(matrix, vectors) - least
    rounding = 1e-14 * SIZE * spectrum[0]  # of these sums themselves
    assert bool((excess <= 1e-4 * least + rounding)[: SIZE // 2].all())
    assert float((vectors.T @ vectors - torch.eye(SIZE)).abs().max()) < 1e-5
    torch.testing.assert_close(
        values,
        spectrum.flip(0),
        rtol=1e-5,
        atol=1e-5 * float(spectrum[eigen.BLOCK]) + 1e-14 * float(spectrum[0]),
    )


def test_small_matrices_and_those_of_few_vectors_go_to_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eigen, "_dominant_eigenpairs", lambda _: pytest.fail("not for these"))
    cases = (torch.eye(SIZE - 1).double(), PLENTY), (torch.eye(SIZE), PLENTY)
    for matrix, samples in (*cases, (torch.eye(SIZE).double(), SIZE)):
        values, vectors = eigen.eigenpairs(matrix, samples)
        assert values.dtype == vectors.dtype == matrix.dtype
        torch.testing.assert_close(vectors @ vectors.T, matrix)


def test_the_same_matrix_gives_the_same_bytes() -> None:
    matrix = matrix_of(SPECTRA["massive"])
    first, second = eigen.eigenpairs(matrix, PLENTY), eigen.eigenpairs(matrix.clone(), PLENTY)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
