"""What the two methods with a sparse part claim beyond the contract."""

import pytest
import torch
from pydantic import ValidationError

from rankwise.artifacts.statistics import InputStatistics
from rankwise.budget.costs import Kept, Matrix
from rankwise.decompose.oats import OATS
from rankwise.decompose.robust_pca import RobustPCA


def low_rank_and_spikes(out: int = 30, columns: int = 40):
    """A matrix of rank 3 with 60 large entries, and inputs of unequal size."""
    g = torch.Generator().manual_seed(0)
    low = torch.randn(out, 3, generator=g).double() @ torch.randn(3, columns, generator=g).double()
    spikes = torch.zeros(out * columns, dtype=torch.float64)
    places = torch.randperm(out * columns, generator=g)[:60]
    spikes[places] = 20 * torch.randn(60, generator=g).double().sign()
    x = torch.randn(200, columns, generator=g).double() * torch.logspace(0, -1, columns).double()
    second = x.T @ x
    return (
        low,
        spikes.view(out, columns),
        InputStatistics(second, x.mean(0)[None], torch.tensor([200]), x.abs().sum(0)),
    )


def test_robust_pca_separates_what_was_added():
    low, spikes, inputs = low_rank_and_spikes()
    factors = RobustPCA(tolerance=1e-6)(low + spikes, inputs, 17)
    assert factors.notes["converged"] is True
    assert factors.notes["residual"] <= 1e-6
    torch.testing.assert_close(factors.left[:, :3] @ factors.right[:3], low, rtol=0, atol=1e-3)
    found = factors.sparse.dense(len(factors.sparse.places), factors.shape)
    torch.testing.assert_close(found, spikes, rtol=0, atol=1e-3)
    assert set(factors.sparse.places[:60].tolist()) == set(
        spikes.flatten().nonzero()[:, 0].tolist()
    )


def test_robust_pca_says_when_it_did_not_converge():
    low, spikes, inputs = low_rank_and_spikes()
    notes = RobustPCA(iterations=3)(low + spikes, inputs, 5).notes
    assert notes["converged"] is False
    assert notes["iterations"] == 3
    assert notes["residual"] > 1e-4


def test_the_ladder_of_robust_pca_takes_what_gains_most_per_parameter():
    low, spikes, inputs = low_rank_and_spikes()
    weight = (
        low
        + spikes
        + 0.1
        * torch.randn(low.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    factors = RobustPCA()(weight, inputs, 17)
    gain = factors.sparse.magnitudes.square() / 1.5
    for rank in range(18):
        bar = float(factors.spectrum[rank]) ** 2 / 70
        assert factors.sparse.choices()[rank] == Kept(rank, int((gain >= bar).sum()))


def test_oats_spends_its_keep_and_beats_either_part_alone():
    low, spikes, inputs = low_rank_and_spikes()
    weight = low + spikes
    factors = OATS(keep=0.5)(weight, inputs, 17)
    rank, entries = factors.notes["rank"], factors.notes["entries"]
    matrix = Matrix((30, 40), 17, ladder=factors.sparse.choices())
    assert matrix.ladder[rank] == Kept(rank, entries)
    numbers = 0.5 * weight.numel()
    assert numbers - 30 - 70 < matrix.parameters(Kept(rank, entries)) <= numbers
    scale = inputs.second_moment.diagonal().sqrt()
    approximation = factors.left[:, :rank] @ factors.right[:rank]
    rest = weight - approximation - factors.sparse.dense(entries, factors.shape)
    error = (rest * scale).norm()
    alone = torch.linalg.svdvals(weight * scale)[int(numbers / 70) :].norm()
    assert error < 0.5 * alone
    short = OATS(keep=0.5, iterations=1)(weight, inputs, 17)
    begun = weight - short.left[:, :rank] @ short.right[:rank]
    begun = begun - short.sparse.dense(entries, factors.shape)
    assert error <= (begun * scale).norm()


def test_oats_knows_nothing_of_inputs_that_are_all_zero():
    low, spikes, _ = low_rank_and_spikes()
    nothing = InputStatistics(
        torch.zeros(40, 40).double(),
        torch.zeros(1, 40).double(),
        torch.tensor([9]),
        torch.zeros(40).double(),
    )
    factors = OATS()(low + spikes, nothing, 17)
    assert bool(factors.left.isfinite().all())
    assert bool(factors.sparse.values.isfinite().all())


@pytest.mark.parametrize("kappa", [-0.5, 0.0, 1.0, 1.2])
def test_a_sparse_share_of_more_than_the_budget_is_refused(kappa):
    with pytest.raises(ValidationError, match="share of the budget is 1 − kappa"):
        OATS(kappa=kappa)
