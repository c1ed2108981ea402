"""What every allocator promises; a new file in the folder is tested by existing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.allocate import allocators
from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Candidate, Problem, Trials, TrialScore
from rankwise.budget import Kept, Matrix, keep_reached
from rankwise.errors import RankwiseError

METHODS = sorted(allocators)
KINDS = {
    "q": (32, 32),
    "k": (16, 32),
    "v": (16, 32),
    "o": (32, 32),
    "gate": (88, 32),
    "up": (88, 32),
    "down": (32, 88),
}


def problem(
    layers: int = 3, *, dense: tuple[str, ...] = (), trials: Trials | None = None, scorer=None
) -> Problem:
    """Random spectra of a small model; the score prefers what keeps the energy of late layers."""
    generator = torch.Generator().manual_seed(0)
    matrices, candidates = {}, {}
    for layer in range(layers):
        for kind, shape in KINDS.items():
            name = f"{layer}.{kind}"
            stored = 0 if kind in dense else shape[0] * shape[1] // sum(shape)
            matrices[name] = Matrix(shape, stored, factored_bias=True)
            if stored:
                spectrum = torch.rand(min(shape), generator=generator, dtype=torch.float64)
                candidates[name] = Candidate(layer, kind, spectrum.sort(descending=True).values)

    def score(choices):
        loss = sum((1 + c.layer) * c.loss(choices[name]) for name, c in candidates.items())
        return TrialScore(10 + loss, loss / 100)

    return Problem(matrices, candidates, layers, scorer or score, trials or Trials())


def make(name: str, **settings):
    cls = allocators[name]
    if issubclass(cls, ScoringAllocator):
        settings = {"trials": 6} | settings
    return cls(**({"multiple": 1, "floor": 0.05} | settings))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dense", [(), ("v",)])
@given(keep=st.floats(0.3, 0.95), multiple=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_meets_the_budget_with_valid_choices(name, dense, keep, multiple):
    case = problem(dense=dense)
    choices = make(name, multiple=multiple)(case, keep)
    assert set(choices) == set(case.matrices)
    reached = keep_reached(case.matrices, choices)
    step = max(m.parameters(Kept(multiple)) for m in case.matrices.values()) / sum(
        m.parameters(None) for m in case.matrices.values()
    )
    assert keep - step <= reached <= keep
    for linear, kept in choices.items():
        if kept is not None:
            assert 1 <= kept.rank <= case.matrices[linear].max_rank
            assert kept.rank % multiple == 0
        if linear.split(".")[1] in dense:
            assert kept is None


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_answer(name):
    assert make(name)(problem(), 0.6) == make(name)(problem(), 0.6)


@pytest.mark.parametrize("name", METHODS)
def test_keep_one_leaves_everything_dense(name):
    assert set(make(name)(problem(), 1.0).values()) == {None}


@pytest.mark.parametrize("name", METHODS)
def test_the_floor_holds_or_is_refused(name):
    case = problem()
    choices = make(name, floor=0.3)(case, 0.5)
    for linear, kept in choices.items():
        assert kept is None or kept.rank >= 0.3 * case.matrices[linear].break_even
    with pytest.raises(RankwiseError, match="floor"):
        make(name, floor=0.9)(case, 0.5)


SCORING = [name for name in METHODS if issubclass(allocators[name], ScoringAllocator)]


@pytest.mark.parametrize("name", SCORING)
def test_search_is_never_worse_than_uniform_and_scores_once_a_trial(name):
    calls = []
    reference = problem()
    uniform = reference.score(make("uniform")(reference, 0.6))

    def counted(choices):
        calls.append(choices)
        return reference.score(choices)

    case = problem(scorer=counted)
    make(name, trials=9)(case, 0.6)
    best = case.trials.best()
    assert len(calls) == len(case.trials.rows) == 9
    assert best["perplexity"] + 4.1 * best["kl"] <= uniform.perplexity + 4.1 * uniform.kl


@pytest.mark.parametrize("name", SCORING)
def test_five_trials_and_five_more_are_ten(name, tmp_path):
    whole = problem(trials=Trials(tmp_path / "whole.jsonl", "f", 10))
    choices = make(name, trials=10, startup=4)(whole, 0.6)
    first = problem(trials=Trials(tmp_path / "parts.jsonl", "f", 5))
    make(name, trials=5, startup=4)(first, 0.6)
    second = problem(trials=Trials(tmp_path / "parts.jsonl", "f", 10))
    assert len(second.trials.rows) == 5
    assert make(name, trials=10, startup=4)(second, 0.6) == choices
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert Trials(tmp_path / "parts.jsonl", "another", 10).rows == []


@pytest.mark.parametrize("name", SCORING)
def test_another_seed_tries_other_allocations(name):
    cases = [problem(), problem()]
    for seed, case in enumerate(cases):
        make(name, seed=seed)(case, 0.6)
    assert cases[0].trials.text() != cases[1].trials.text()


@pytest.mark.parametrize("name", SCORING)
def test_failing_trials_are_recorded_and_do_not_end_the_search(name):
    good = problem()
    count = iter(range(100))

    def sometimes(choices):
        return TrialScore(float("nan"), 0.0) if next(count) % 3 == 0 else good.score(choices)

    case = problem(scorer=sometimes)
    make(name, trials=8)(case, 0.6)
    assert [row["status"] for row in case.trials.rows].count("failed") == 3
    assert case.trials.summary()["failed"] == 3
    broken = problem(scorer=lambda _: TrialScore(float("inf"), 0.0))
    with pytest.raises(RankwiseError, match="not finite"):
        make(name)(broken, 0.6)
