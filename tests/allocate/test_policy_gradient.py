"""CAP's second stage: what is learned, what is drawn, what is projected."""

import numpy as np
import pytest
import torch

from rankwise.allocate._pool import Pool
from rankwise.allocate.policy_gradient import PolicyGradient
from rankwise.allocate.problem import Candidate, Problem, Trials, TrialScore
from rankwise.budget.costs import Kept, Matrix
from rankwise.budget.spending import Budget
from rankwise.errors import RankwiseError
from rankwise.params.target import Target


def spectrum(seed: int, scale: float = 1.0, count: int = 12) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    values = scale * (1 + torch.rand(count, generator=g, dtype=torch.float64))
    return values.sort(descending=True).values


def problem(*, entries: int = 0) -> Problem:
    """Three matrices whose sizes are alike; the loss is that of the last one alone."""
    matrices, candidates = {}, {}
    ladder = tuple(Kept(rank, entries * rank // 6) for rank in range(7)) if entries else ()
    for index, name in enumerate("abc"):
        matrices[name] = Matrix((12, 12), 6, ladder=ladder)
        sizes = spectrum(10 + index, 0.2, entries) if entries else None
        candidates[name] = Candidate(index, "q", spectrum(index), sizes)

    def score(choices, sequences=None):
        return TrialScore(float(np.exp(candidates["c"].loss(choices["c"]) / 10)), 0.0)

    def score_masks(masks):
        components, kept = masks["c"]
        lost = np.square(candidates["c"].spectrum.numpy())
        loss = lost[6:].sum() + lost[:6][~components].sum()
        if entries:
            loss += np.square(candidates["c"].magnitudes.numpy())[~kept].sum()
        return TrialScore(float(np.exp(loss / 10)), 0.0)

    budget = Budget(matrices, Target("keep", 0.6))
    return Problem(budget, candidates, 3, score, Trials(), score_masks=score_masks)


@pytest.mark.parametrize("entries", [0, 24])
def test_what_is_learned_beats_thresholds_on_sizes(entries):
    """Sizes say that the three matrices are alike; only the loss says that one of them matters."""
    case = problem(entries=entries)
    choices = PolicyGradient(multiple=1, floor=0.0, trials=302, check=100)(case)
    rows = case.trials.rows
    checks = [row for row in rows if row["kind"] == "check"]
    assert [row["trial"] for row in checks] == [0, 1, 101, 201, 301]
    thresholds, learned = checks[1], checks[-1]
    assert learned["perplexity"] < thresholds["perplexity"]
    assert case.score(choices).perplexity == pytest.approx(min(r["perplexity"] for r in checks))
    kept = {name: case.matrices[name].parameters(choice) for name, choice in choices.items()}
    assert kept["c"] > max(kept["a"], kept["b"])


def test_with_no_step_nothing_is_learned():
    case = problem()
    PolicyGradient(multiple=1, floor=0.0, trials=12, check=5, eta=1e-12)(case)
    checks = [row["perplexity"] for row in case.trials.rows if row["kind"] == "check"]
    assert len(set(checks[1:])) == 1


def test_projection_is_the_nearest_point_within_the_budget():
    pool = Pool.of(problem(entries=24))
    rng = np.random.default_rng(0)
    wild = rng.normal(0.5, 0.6, len(pool.costs))
    found = pool.project(wild)
    assert ((found >= 0) & (found <= 1)).all()
    assert pool.costs @ found == pytest.approx(pool.numbers)
    for _ in range(200):
        other = np.clip(found + rng.normal(0, 0.1, len(found)), 0, 1)
        other *= min(1.0, pool.numbers / (pool.costs @ other))
        assert np.square(wild - found).sum() <= np.square(wild - other).sum() + 1e-9
    cheap = np.full(len(wild), 0.01)
    np.testing.assert_array_equal(pool.project(cheap), cheap)


def test_chances_start_at_the_budget_in_the_order_of_sizes():
    pool = Pool.of(problem(entries=24))
    start = pool.start(1.0)
    assert pool.costs @ start == pytest.approx(pool.numbers, rel=1e-6)
    order = np.argsort(pool.sizes)
    assert (np.diff(start[order]) >= 0).all()


def test_selection_counts_what_was_taken_of_each_matrix():
    """Components of a, then entries of b, then the rest by size: dense a, all entries of b, little of c."""
    case = problem(entries=24)
    pool = Pool.of(case)
    chances = np.full(len(pool.costs), 0.1)
    chances[pool.parts["a"][0]] = 0.9
    chances[pool.parts["b"][1]] = 0.8
    limits = PolicyGradient(multiple=1, floor=0.0)
    choices = pool.select(case, chances, limits)
    # Of 259 numbers: a 144, for rank 6 costs as much as dense; b 24 + 24 and a mask of 6; c two of 24.
    assert choices == {"a": None, "b": Kept(1, 24), "c": Kept(2, 0)}


def test_factors_without_a_spectrum_are_refused():
    case = problem()
    case.candidates["b"] = Candidate(1, "q", torch.zeros(0))
    with pytest.raises(RankwiseError, match=r"b: policy_gradient draws .* spectrum of 0 values"):
        PolicyGradient()(case)
