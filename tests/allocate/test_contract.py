"""What every allocator promises; a new file in the folder is tested by existing."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.allocate import allocators
from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Trials, TrialScore
from rankwise.allocate.sequential import DRAWS, SequentialSearch
from rankwise.budget.costs import Kept, total
from rankwise.budget.spending import Budget
from rankwise.checkpoint.byte_budget import ByteBudget, linear_tensors
from rankwise.checkpoint.weight_files import SIZES, StoredTensor
from rankwise.errors import RankwiseError
from rankwise.methods.measure import Measure
from rankwise.params.target import Target
from tests.allocate.problems import FLOOR, make, problem

METHODS = sorted(allocators)
SCORING = [name for name in METHODS if issubclass(allocators[name], ScoringAllocator)]


@st.composite
def budgets(draw, matrices):
    """A budget over these linears: a share of them, or all parameters of a model, or bytes of its files."""
    kind = draw(st.sampled_from(["keep", "total_params", "checkpoint_bytes"]))
    share = draw(st.floats(0.3, 0.95))
    rest = draw(st.integers(1, 5000))
    if kind == "keep":
        return Budget(matrices, Target(kind, share))
    if kind == "total_params":
        return Budget(matrices, Target(kind, rest + int(share * total(matrices))), rest)
    dtype = draw(st.sampled_from(["F32", "BF16"]))
    dense = (StoredTensor("embedding.weight", dtype, (rest,)),)
    for name, matrix in matrices.items():
        dense += tuple(linear_tensors(name, matrix, None, dtype))
    whole = ByteBudget(matrices, Target(kind, 0), dense=dense, dtype=dtype)
    size = whole.cost(dict.fromkeys(matrices))
    least = size - SIZES[dtype] * total(matrices)
    asked = Target(kind, least + int(share * (size - least)))
    return replace(whole, target=asked)


def next_ranks(matrix, kept, multiple, *, free):
    """Return the choices one step above: the next rank, with the entries that go with it, and dense."""
    rank = kept.rank + multiple
    if rank > matrix.max_rank:
        return [None]
    return [Kept(rank, kept.entries) if free or not matrix.ladder else matrix.ladder[rank], None]


def refused_rightly(error, budget, multiple):
    """Check that no choices are within the budget, or that a ladder has no such multiple."""
    ladders = [matrix.ladder for matrix in budget.matrices.values() if matrix.max_rank]
    if "in multiples of" in error:
        assert any(not any(k.rank and k.rank % multiple == 0 for k in each) for each in ladders)
        return
    assert re.search(f"{budget.target.kind} .* alone comes to", error)
    least = {name: budget.schedule(name, multiple, FLOOR) or [None] for name in budget.matrices}
    assert not budget.pays({name: choices[0] for name, choices in least.items()})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dense", [(), ("v",)])
@pytest.mark.parametrize("sparse", [False, True])
@given(
    sizes=st.tuples(*[st.integers(4, 96)] * 3),
    data=st.data(),
    multiple=st.sampled_from([1, 2, 3, 8, 16, 64]),
)
@settings(max_examples=20, deadline=None)
def test_meets_the_budget_with_valid_choices(name, dense, sparse, sizes, data, multiple):
    """Within the budget, ranks in multiples, and no matrix could have its next rank of what is left."""
    hidden, keys, inner = sizes
    kinds = {"q": (hidden, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, hidden)}
    kinds |= {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    case = problem(2, dense=dense, sparse=sparse, kinds=kinds)
    budget = data.draw(budgets(case.matrices))
    few = {"trials": 2} if name in SCORING else {}
    try:
        choices = make(name, multiple=multiple, **few)(replace(case, budget=budget))
    except RankwiseError as error:
        refused_rightly(str(error), budget, multiple)
        return
    assert set(choices) == set(case.matrices)
    assert budget.reached(choices) <= budget.target.value
    for linear, kept in choices.items():
        if kept is None:
            continue
        assert linear.split(".")[1] not in dense
        assert 1 <= kept.rank <= case.matrices[linear].max_rank
        assert kept.rank % multiple == 0
        for dearer in next_ranks(
            case.matrices[linear], kept, multiple, free=name == "policy_gradient"
        ):
            assert budget.cost({**choices, linear: dearer}) > budget.limit


@pytest.mark.parametrize("name", METHODS)
def test_describes_itself(name):
    assert allocators[name].summary


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_answer(name):
    assert make(name)(problem()) == make(name)(problem())


@pytest.mark.parametrize("name", METHODS)
def test_keep_one_leaves_everything_dense(name):
    assert set(make(name)(problem(keep=1.0)).values()) == {None}


@pytest.mark.parametrize("name", METHODS)
def test_the_floor_holds_or_is_refused(name):
    case = problem(keep=0.5)
    choices = make(name, floor=0.3)(case)
    for linear, kept in choices.items():
        assert kept is None or kept.rank >= 0.3 * case.matrices[linear].break_even
    with pytest.raises(RankwiseError, match="floor"):
        make(name, floor=0.9)(case)


SEQUENTIAL = [name for name in METHODS if issubclass(allocators[name], SequentialSearch)]


@pytest.mark.parametrize(
    ("name", "fields"),
    [(name, {}) for name in METHODS] + [(name, {"space": "losses"}) for name in SEQUENTIAL],
)
def test_what_an_allocator_says_it_needs_of_the_spectrum_is_what_it_uses(name, fields):
    """Nothing: the answer is the same without one. Sizes: it is the same where every matrix has a unit
    of its own. Losses: it is another one then."""
    method, case = make(name, **fields), problem()
    units = {linear: float(i % 3 + 1) for i, linear in enumerate(case.candidates)}

    def answer(change):
        seen = {
            linear: replace(candidate, spectrum=change(linear, candidate.spectrum))
            for linear, candidate in case.candidates.items()
        }
        return method(replace(case, candidates=seen, trials=Trials()))

    asis = answer(lambda _, spectrum: spectrum)
    if method.requires == Measure.NONE:
        assert answer(lambda _, spectrum: spectrum[:0]) == asis
    else:
        in_own_units = answer(lambda linear, spectrum: spectrum * units[linear])
        assert (in_own_units == asis) == (method.requires == Measure.SIZE)


@pytest.mark.parametrize("name", SCORING)
def test_search_is_never_worse_than_uniform_and_scores_once_a_trial(name):
    calls = []
    reference = problem()
    uniform = reference.score(make("uniform")(reference))

    def counted(choices, sequences=None):
        calls.append(choices)
        return reference.score(choices, sequences)

    case = problem(scorer=counted)
    make(name, trials=9)(case)
    best = case.trials.best()
    assert len(calls) == len(case.trials.rows) == 9
    assert best["perplexity"] + 4.1 * best["kl"] <= uniform.perplexity + 4.1 * uniform.kl


@pytest.mark.parametrize("name", SCORING)
def test_five_trials_and_five_more_are_ten(name, tmp_path):
    early = {"startup": 4} if "startup" in allocators[name].model_fields else {}
    whole = problem(trials=Trials(tmp_path / "whole.jsonl", "f", 10))
    choices = make(name, trials=10, **early)(whole)
    first = problem(trials=Trials(tmp_path / "parts.jsonl", "f", 5))
    make(name, trials=5, **early)(first)
    second = problem(trials=Trials(tmp_path / "parts.jsonl", "f", 10))
    assert len(second.trials.rows) == 5
    assert make(name, trials=10, **early)(second) == choices
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert Trials(tmp_path / "parts.jsonl", "another", 10).rows == []


@pytest.mark.parametrize("name", SCORING)
def test_another_seed_tries_other_allocations(name):
    cases = [problem(), problem()]
    for seed, case in enumerate(cases):
        make(name, seed=seed)(case)
    assert cases[0].trials.text() != cases[1].trials.text()


@pytest.mark.parametrize("name", SCORING)
def test_failing_trials_are_recorded_and_do_not_end_the_search(name):
    good = problem()
    count = iter(range(100))

    def sometimes(choices, sequences=None):
        return TrialScore(float("nan"), 0.0) if next(count) % 3 == 0 else good.score(choices)

    case = problem(scorer=sometimes)
    make(name, trials=8)(case)
    assert [row["status"] for row in case.trials.rows].count("failed") == 3
    assert case.trials.summary()["failed"] == 3
    broken = problem(scorer=lambda *_: TrialScore(float("inf"), 0.0))
    with pytest.raises(RankwiseError, match="not finite"):
        make(name)(broken)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_search_around_the_closed_form_starts_with_it_and_betters_it(name):
    closed = make("least_loss")
    assert make(name, space="losses", trials=1)(problem()) == closed(problem())
    candidates = problem().candidates

    def down_is_dear(choices, sequences=None):
        """A loss of which the currency of the spectra says nothing: ``down`` counts twentyfold."""
        loss = sum(
            (20 if c.kind == "down" else 1) * c.loss(choices[n]) for n, c in candidates.items()
        )
        return TrialScore(10 + loss, loss)

    case = problem(scorer=down_is_dear)
    make(name, space="losses", trials=12)(case)
    factors = [value for row in case.trials.rows for value in row["losses"].values()]
    assert all(0.25 <= value <= 4 for value in factors)
    assert set(case.trials.rows[0]["losses"].values()) == {1.0}
    best, first = case.trials.best(), case.trials.rows[0]
    assert best["objective"] < first["objective"]


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_chosen_sequences_stay_chosen_and_only_they_are_scored(name, tmp_path):
    reference = problem()
    seen = []

    def counted(choices, sequences=None):
        seen.append(sequences)
        return reference.score(choices, sequences)

    whole = problem(scorer=counted, trials=Trials(tmp_path / "whole.jsonl", "f"))
    choices = make(name, trials=6, validation=4)(whole)
    assert seen[:DRAWS] == [None] * DRAWS
    chosen = whole.trials.rows[0]["sequences"]
    # The last sequences are those whose loss depends most on what is truncated.
    assert chosen == [8, 9, 10, 11]
    assert seen[DRAWS:] == [chosen] * 6
    assert all("sequences" not in row for row in whole.trials.rows[1:])
    seen.clear()
    first = problem(scorer=counted, trials=Trials(tmp_path / "parts.jsonl", "f"))
    make(name, trials=3, validation=4)(first)
    second = problem(scorer=counted, trials=Trials(tmp_path / "parts.jsonl", "f"))
    assert make(name, trials=6, validation=4)(second) == choices
    assert seen.count(None) == DRAWS
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    with pytest.raises(RankwiseError, match="validation asks for 40 search sequences of 12"):
        make(name, validation=40)(problem())


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_depth_groups_have_variables_of_their_own(name):
    case = problem(4)
    make(name, depth_groups=4, trials=2)(case)
    assert len(case.trials.rows[0]["shares"]) == 6 * 4


@pytest.mark.parametrize(
    ("name", "fields"),
    [(name, {}) for name in SEQUENTIAL]
    + [("hyperopt", {"algorithm": "rand"}), ("hyperopt", {"algorithm": "anneal"})],
)
def test_trials_of_a_round_may_run_anywhere_in_any_order(name, fields, tmp_path):
    """The same trials in one process, in one that was stopped in mid-round, and each by itself."""
    settings = {"trials": 8, "q": 3, "startup": 2, "validation": 4, "seed": 5} | fields
    search, case = make(name, **settings), problem()
    choices = search(case)
    rows = []
    for number in range(3):
        suggested = search.suggestions(problem(), number, rows)
        assert suggested == search.suggestions(problem(), number, rows)
        found = [search.trial(problem(), one) for one in reversed(suggested)]
        rows += reversed(found)
    scattered = Trials()
    scattered.rows = rows
    assert scattered.text() == case.trials.text()
    assert search(replace(problem(), score=None, trials=scattered)) == choices
    stopped = problem(trials=Trials(tmp_path / "rows", "f", 8))
    for row in rows[:4]:
        stopped.trials.add(row)
    assert search(stopped) == choices
    assert stopped.trials.text() == case.trials.text()
    points = [tuple(row["shares"].values()) for row in rows]
    assert len(set(points)) == len(points)  # a round does not suggest one point twice


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_trial_that_cannot_be_scored_is_recorded_with_its_error(name):
    good = problem()
    count = iter(range(100))

    def sometimes(choices, sequences=None):
        if next(count) % 3 == 1:
            raise RuntimeError("the matrix is singular\nand more")
        return good.score(choices)

    case = problem(scorer=sometimes)
    make(name, trials=7, q=2)(case)
    failed = [row for row in case.trials.rows if row["status"] == "failed"]
    assert [row["trial"] for row in failed] == [1, 4]
    assert {row["error"] for row in failed} == {"the matrix is singular"}

    def never(choices, sequences=None):
        raise RankwiseError("no such text")

    with pytest.raises(RankwiseError, match="all 4 trials failed, one of them with: no such text"):
        make(name)(problem(scorer=never))

    def full(choices, sequences=None):
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        make(name)(problem(scorer=full))
