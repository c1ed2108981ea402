"""What single allocators promise beyond the contract, against short references."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.allocate._history import most_varied
from rankwise.allocate.effective_rank import EffectiveRank, effective_rank
from rankwise.allocate.energy import Energy
from rankwise.allocate.gp import suggest
from rankwise.allocate.least_loss import LeastLoss
from rankwise.allocate.manual import Manual
from rankwise.allocate.mgaa import MGAA, between
from rankwise.allocate.pareto import Pareto
from rankwise.allocate.problem import Candidate, Problem
from rankwise.allocate.uniform import Uniform
from rankwise.artifacts.statistics import InputStatistics
from rankwise.budget.costs import Matrix, total
from rankwise.budget.spending import Budget
from rankwise.decompose.factoring import largest_rank, weight_errors
from rankwise.decompose.svd import SVD
from rankwise.errors import RankwiseError
from rankwise.model.families import family_of
from rankwise.model.family import Linear
from rankwise.params.runs import Run
from rankwise.params.target import Target
from rankwise.records.model import ModelManifest
from rankwise.search.problem import build_record
from tests.allocate.problems import problem

LIMITS = {"multiple": 1, "floor": 0.05}


def rank(case, name, choices):
    kept = choices[name]
    return case.matrices[name].break_even if kept is None else kept.rank


def test_manual_shares_are_relative_and_unknown_types_are_refused():
    case = problem()
    choices = Manual(shares={"q": 0.25, "k": 0.5}, **LIMITS)(case)
    q, o = (rank(case, f"1.{kind}", choices) for kind in "qo")
    assert q == pytest.approx(o / 4, abs=1)
    assert Manual(**LIMITS)(case) == Uniform(**LIMITS)(case)
    with pytest.raises(RankwiseError, match=r"names 'gat', a type without factors.*'gate'"):
        Manual(shares={"gat": 0.5})(case)
    with pytest.raises(RankwiseError, match="names 'v', a type without factors"):
        Manual(shares={"v": 0.5})(problem(dense=("v",)))


@given(share=st.floats(0.2, 0.99))
@settings(deadline=None)
def test_energy_at_the_budget_of_a_share_is_the_least_rank_of_that_share(share):
    case, wanted = problem(), {}
    for name, candidate in case.candidates.items():
        ladder = case.matrices[name].steps(1, 0.05)
        wanted[name] = next((c for c in ladder if candidate.energy(c) >= share), None)
    budget = Budget(case.matrices, Target("total_params", total(case.matrices, wanted)))
    assert Energy(**LIMITS)(replace(case, budget=budget)) == wanted


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_pareto_on_plain_svd_is_energy(keep):
    generator = torch.Generator().manual_seed(0)
    matrices, candidates = {}, {}
    for layer, shape in enumerate([(20, 12), (16, 16), (12, 30)]):
        weight = torch.randn(shape, generator=generator, dtype=torch.float64)
        inputs = InputStatistics(
            torch.eye(shape[1]),
            torch.zeros(1, shape[1]),
            torch.ones(1, dtype=torch.int64),
            torch.ones(1),
        )
        factors = SVD()(weight, inputs, largest_rank(weight.shape))
        matrices[str(layer)] = Matrix(shape, factors.max_rank)
        candidates[str(layer)] = Candidate(
            layer, "q", factors.spectrum, weight_errors=weight_errors(weight, factors)
        )
    case = Problem(Budget(matrices, Target("keep", keep)), candidates, 3)
    assert Pareto(**LIMITS)(case) == Energy(**LIMITS)(case)
    with pytest.raises(RankwiseError, match="error of the weight itself"):
        Candidate(0, "q", torch.ones(4)).weight_error(next(iter(matrices["0"].steps(1, 0))))


def test_curvature_loses_less_than_uniform_and_energy():
    case = problem()

    def lost(allocator):
        choices = allocator(case)
        return sum(c.loss(choices[name]) for name, c in case.candidates.items())

    assert lost(LeastLoss(**LIMITS)) < min(lost(Uniform(**LIMITS)), lost(Energy(**LIMITS)))


def test_a_record_says_no_error_where_the_method_has_no_measure():
    case = problem(dense=("v",))
    places = {name: Linear(name, 0, "site", "kind", "sublayer") for name in case.matrices}
    case = replace(case, linears=places)
    without = {n: replace(c, spectrum=c.spectrum[:0]) for n, c in case.candidates.items()}
    run, choices = Run(decompose="x", allocate="uniform", keep=0.6), Uniform()(case)
    manifest = ModelManifest(
        source="m",
        revision=None,
        dtype="float32",
        architecture="A",
        family=family_of("LlamaForCausalLM"),
        layers=3,
        parameters=10**6,
        files=[],
    )
    known = build_record("r", run, Uniform(), case, choices, manifest).linears
    unknown = replace(case, candidates=without)
    unknown = build_record("r", run, Uniform(), unknown, choices, manifest).linears
    for name, linear in known.items():
        truncated = linear.rank is not None
        assert (linear.relative_error > 0) == truncated
        assert unknown[name].relative_error == (None if truncated else 0)


def test_effective_rank_of_flat_and_single_spectra():
    assert effective_rank(torch.full((7,), 3.0)) == pytest.approx(7)
    assert effective_rank(torch.tensor([2.0, 0, 0])) == 1
    p = np.array([9, 1]) / 10
    expected = math.exp(-(p * np.log(p)).sum())
    assert effective_rank(torch.tensor([3.0, 1])) == pytest.approx(expected)


def test_effective_rank_spreads_a_type_by_root_and_moves_q_and_k_to_v():
    """Two layers whose q have effective ranks 4 and 1; every other matrix is flat."""
    matrices, candidates = {}, {}
    for layer in range(2):
        for kind in ("q", "k", "v"):
            spectrum = torch.ones(60, dtype=torch.float64)
            if kind == "q":
                spectrum[4 if layer == 0 else 1 :] = 0
            matrices[f"{layer}.{kind}"] = Matrix((120, 120), 60)
            candidates[f"{layer}.{kind}"] = Candidate(layer, kind, spectrum)
    case = Problem(Budget(matrices, Target("keep", 0.4)), candidates, 2)
    still = EffectiveRank(beta=0.0, **LIMITS)(case)
    ranks = {name: choice.rank for name, choice in still.items()}
    assert ranks["0.q"] == pytest.approx(2 * ranks["1.q"], abs=1)
    assert ranks["0.v"] == pytest.approx(ranks["1.v"], abs=1)
    moved = EffectiveRank(beta=0.5, **LIMITS)(case)
    for layer in range(2):
        assert moved[f"{layer}.k"].rank == pytest.approx(ranks[f"{layer}.k"] / 2, abs=1)
        assert moved[f"{layer}.v"].rank == pytest.approx(2 * ranks[f"{layer}.v"], abs=1)


@given(
    st.lists(st.tuples(st.floats(1e-3, 2), st.integers(1, 100)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_shares_between_sublayers_meet_the_budget_within_floor_and_one(parts, keep):
    weights, sizes = (np.array(column, dtype=float) for column in zip(*parts, strict=True))
    budget = keep * sizes.sum()
    shares = between(weights, sizes, budget, 0.1)
    assert (shares >= 0.1).all()
    assert (shares <= 1).all()
    assert (sizes * shares).sum() == pytest.approx(max(budget, 0.1 * sizes.sum()), rel=1e-9)
    inside = (shares > 0.1) & (shares < 1)
    ratios = (shares / weights)[inside]
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0]) if len(ratios) else [])


def test_mgaa_gives_sublayers_their_share_and_equal_energy_inside():
    case = problem(keep=0.5)
    choices = MGAA(t=1.0, **LIMITS)(case)
    names: dict[tuple[int, str], list[str]] = {}
    for name, candidate in case.candidates.items():
        names.setdefault((candidate.layer, candidate.sublayer), []).append(name)
    sizes = np.array([sum(math.prod(case.matrices[n].shape) for n in of) for of in names.values()])
    weights = np.array([1 - case.similarity[key] for key in names])
    wanted = between(weights, sizes, 0.5 * sizes.sum(), 0.05)
    for of, size, share in zip(names.values(), sizes, wanted, strict=True):
        spent = sum(case.matrices[n].parameters(choices[n]) for n in of)
        step = max(sum(case.matrices[n].shape) for n in of)
        assert abs(spent - share * size) <= 2 * step
        energies = [case.candidates[n].energy(choices[n]) for n in of if choices[n] is not None]
        assert max(energies) - min(energies) < 0.2
    same = MGAA(t=0.0, **LIMITS)(case)
    assert same != choices


def test_mgaa_refuses_statistics_that_miss_a_sublayer():
    case = problem()
    del case.similarity[1, "mlp"]
    with pytest.raises(RankwiseError, match="no similarity of layer 1, sublayer mlp"):
        MGAA(**LIMITS)(case)


def test_most_varied_sequences_ignore_broken_allocations():
    losses = np.array([[1.0, 1, 1, 1], [1, 2, 1.5, 1.1], [1, 1, np.nan, 1], [900, 1, 1, 1]])
    assert most_varied(losses, 2) == [1, 2]
    with pytest.raises(RankwiseError, match="only 1 of 2 random allocations"):
        most_varied(losses[[0, 2]], 2)


def test_gaussian_process_finds_a_valley_that_chance_does_not():
    import hyperopt

    space = {
        "a": hyperopt.hp.uniform("a", 0.2, 1.0),
        "b": hyperopt.hp.loguniform("b", *np.log([0.25, 4])),
    }

    def objective(point):
        return 1 + 50 * (point["a"] - 0.7) ** 2 + np.log(point["b"] / 2) ** 2

    def best(algorithm):
        trials = hyperopt.Trials()
        hyperopt.fmin(
            objective,
            space,
            algorithm,
            max_evals=20,
            trials=trials,
            rstate=np.random.default_rng(0),
            show_progressbar=False,
        )
        return min(trials.losses())

    assert best(suggest) < 1.02 < best(hyperopt.rand.suggest)
