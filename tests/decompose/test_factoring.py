"""What is computed beside every decomposition."""

import pytest
import torch

from rankwise.artifacts.factors import Factors, SparsePart
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.budget.costs import Kept, Matrix
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import drop_unaffordable, factor_group, weight_errors
from rankwise.errors import RankwiseError
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from tests.conftest import tiny_llama
from tests.saved_models import ARCHITECTURE, save_model


def test_weight_errors_are_those_of_every_truncation():
    g = torch.Generator().manual_seed(0)
    weight, left, right = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((7, 9), (7, 5), (5, 9))
    )
    found = weight_errors(weight, Factors(left, right, torch.ones(5)))
    expected = [float((weight - left[:, :r] @ right[:r]).square().sum()) for r in range(6)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def sparse_factors(counts: list[int]) -> tuple[torch.Tensor, Factors]:
    g = torch.Generator().manual_seed(0)
    weight, left, right = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((7, 9), (7, 3), (3, 9))
    )
    places = torch.randperm(63, generator=g)[: counts[-1]].to(torch.int32)
    values = torch.randn(counts[-1], generator=g, dtype=torch.float64)
    ladder = torch.tensor(list(enumerate(counts)))
    part = SparsePart(places, values, values.abs(), ladder)
    return weight, Factors(left, right, torch.ones(7, dtype=torch.float64), sparse=part)


@pytest.mark.parametrize("ranks", [[0, 1, 2, 3], [0, 0, 2, 2]])
def test_weight_errors_count_the_entries_that_go_with_each_rank(ranks):
    counts = [2, 2, 9, 20]
    weight, factors = sparse_factors(counts)
    factors.sparse.ladder[:, 0] = torch.tensor(ranks)
    whole, *errors = weight_errors(weight, factors)
    torch.testing.assert_close(whole, weight.square().sum())
    for count, rank, error in zip(counts, ranks, errors, strict=True):
        rest = weight - factors.left[:, :rank] @ factors.right[:rank]
        for place, value in list(zip(factors.sparse.places, factors.sparse.values, strict=True))[
            :count
        ]:
            rest[place // 9, place % 9] -= value
        torch.testing.assert_close(error, rest.square().sum())


def test_entries_that_cost_more_than_the_dense_weight_are_dropped():
    counts = [0, 10, 20, 63]
    _, factors = sparse_factors(counts)
    kept = drop_unaffordable(factors, factors.sparse)
    matrix = Matrix((7, 9), 3, ladder=kept.choices())
    # Rank 2 with its 20 entries costs 32 + 20 + 4 of 63 numbers; 6 more leave it cheaper than dense.
    assert len(kept.places) == len(kept.values) == len(kept.magnitudes) == 26
    assert kept.choices() == (Kept(0, 0), Kept(1, 10), Kept(2, 20), Kept(3, 26))
    assert matrix.parameters(Kept(2, 20)) < 63 <= matrix.parameters(Kept(3, 26))
    assert torch.equal(kept.places, factors.sparse.places[:26])


def test_nan_in_a_weight_names_the_linear(tmp_path, tiny_statistics):
    model = tiny_llama()
    model.model.layers[0].self_attn.o_proj.weight.data[0, 0] = float("inf")
    save_model(model, tmp_path / "m")
    block = GroupStatistics([0, 1], tiny_statistics)
    with pytest.raises(RankwiseError, match=r"layers.0.self_attn.o_proj: the weight holds NaN"):
        weights = Weights(tmp_path / "m", family_of(ARCHITECTURE))
        list(factor_group(weights, block, decomposers["svd"](), torch.device("cpu")))
