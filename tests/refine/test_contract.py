"""What every refiner promises; a new file in the folder is tested by existing."""

import copy

import pytest
import torch

from rankwise.errors import RankwiseError
from rankwise.refine import refiners
from rankwise.refine._fit import text_loss
from rankwise.refine.base import Refinement
from tests.conftest import tiny_llama
from tests.refine.compressed import FAMILY, compress, factored

METHODS = sorted(refiners)
SHARP = 0.25
"""Standard deviation of the random weights: the model's predictions are then far from even."""


def make(name, **settings):
    return refiners[name](**({"epochs": 3, "batch": 8, "learning_rate": 1e-2} | settings))


@pytest.fixture(scope="module")
def ids():
    """Text that the dense model wrote, [sequences, length]."""
    model = tiny_llama(initializer_range=SHARP)
    torch.manual_seed(0)
    first = torch.randint(3, 67, (64, 1))
    return model.generate(first, do_sample=True, min_new_tokens=23, max_new_tokens=23)


def problem(ids, work=None, fingerprint="f", training=48):
    dense = tiny_llama(initializer_range=SHARP).requires_grad_(requires_grad=False)
    compressed = compress(tiny_llama(initializer_range=SHARP))
    return Refinement(dense, compressed, FAMILY, ids, training, work, fingerprint)


def state(case):
    return {name: p.detach().clone() for name, p in case.compressed.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", METHODS)
def test_describes_itself(name):
    assert refiners[name].summary


@pytest.mark.parametrize("name", METHODS)
def test_what_is_held_out_gets_better(name, ids):
    case = problem(ids)
    held_out = ids[case.training :]
    before = text_loss(case.compressed, held_out, 8)
    curves = make(name)(case)
    for curve in curves:
        assert curve.held_out[curve.best] == min(curve.held_out) < curve.held_out[0]
        assert len(curve.held_out) == len(curve.train) + 1
    assert text_loss(case.compressed, held_out, 8) < before


@pytest.mark.parametrize("name", METHODS)
def test_only_the_factors_change_and_the_budget_does_not(name, ids):
    case = problem(ids)
    before, dense = state(case), copy.deepcopy(case.dense.state_dict())
    make(name)(case)
    after = state(case)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.endswith(("left.weight", "right.weight")) for name in changed)
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    assert same(dense, case.dense.state_dict())
    parameters = list(case.compressed.parameters())
    assert not any(p.requires_grad for p in parameters)
    assert all(type(m.left.weight) is torch.nn.Parameter for m in factored(case.compressed))


@pytest.mark.parametrize("name", METHODS)
def test_an_absurd_learning_rate_returns_the_input(name, ids):
    """One that overflows: a merely large one may happen to beat a random model, as on some processors."""
    case = problem(ids)
    before = state(case)
    curves = make(name, learning_rate=1e30)(case)
    assert all(curve.best == 0 for curve in curves)
    assert same(before, state(case))


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bytes_another_seed_others(name, ids):
    found = []
    for seed in (0, 0, 1):
        case = problem(ids)
        curves = make(name, seed=seed)(case)
        found.append((state(case), curves))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not same(found[0][0], found[2][0])


@pytest.mark.parametrize("name", METHODS)
def test_held_out_text_is_never_trained_on(name, ids):
    """Other held-out text: the first training goes the same way."""
    cases = [problem(ids), problem(torch.cat([ids[:48], ids[48:].flip(1)]))]
    one, two = (make(name, epochs=1)(case)[0] for case in cases)
    assert one.train == two.train
    assert one.held_out != two.held_out


@pytest.mark.parametrize("name", METHODS)
def test_stops_when_patience_is_at_an_end(name, ids):
    curves = make(name, learning_rate=3.0, epochs=50, patience=2)(problem(ids))
    assert all(len(curve.train) <= curve.best + 2 for curve in curves)


@pytest.mark.parametrize("name", METHODS)
def test_too_little_text_is_refused(name):
    assert make(name, held_out=0.25).split(16) == 12
    assert make(name, held_out=0.01).split(16) == 15
    for sequences in (0, 1):
        with pytest.raises(RankwiseError, match="needs calibration text"):
            make(name).split(sequences)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_without_factors_stays_as_it_is(name, ids):
    dense = tiny_llama(initializer_range=SHARP).requires_grad_(requires_grad=False)
    case = Refinement(dense, copy.deepcopy(dense), FAMILY, ids, 48)
    before = state(case)
    curves = make(name)(case)
    assert all(curve.train == [] for curve in curves)
    assert same(before, state(case))


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_is_trained_in_float32_and_stored_as_it_was(name, ids):
    case = problem(ids)
    case.dense.bfloat16()
    case.compressed.bfloat16()
    before = text_loss(case.compressed, ids[48:], 8)
    curves = make(name)(case)
    assert any(curve.best > 0 for curve in curves)
    assert {p.dtype for p in case.compressed.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in case.dense.parameters()} == {torch.bfloat16}
    assert text_loss(case.compressed, ids[48:], 8) < before


def test_blockwise_stopped_behind_a_block_ends_with_the_same_bytes(ids, tmp_path, monkeypatch):
    whole = problem(ids)
    curves = make("blockwise")(whole)
    cls = refiners["blockwise"]
    train = cls._train

    def killed(self, parameters, layer, *rest):
        if layer == 1:
            raise KeyboardInterrupt
        return train(self, parameters, layer, *rest)

    def only_the_second(self, parameters, layer, *rest):
        assert layer == 1
        return train(self, parameters, layer, *rest)

    monkeypatch.setattr(cls, "_train", killed)
    with pytest.raises(KeyboardInterrupt):
        make("blockwise")(problem(ids, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["group_0.safetensors"]
    monkeypatch.setattr(cls, "_train", only_the_second)
    again = problem(ids, tmp_path)
    assert make("blockwise")(again) == curves
    assert same(state(again), state(whole))
    with pytest.raises(AssertionError):
        make("blockwise")(problem(ids, tmp_path, fingerprint="another"))


def test_blockwise_measures_the_error_of_the_block(ids):
    """Against hidden states as transformers gives them: the curve's ends are the errors of block 1."""
    case = problem(ids)
    first = make("blockwise", inputs="dense")(case)[0]

    def hidden(model):
        with torch.no_grad():
            return model(ids, output_hidden_states=True).hidden_states[1]

    wanted = hidden(case.dense)
    power = wanted[:48].square().mean()
    errors = [
        (hidden(model) - wanted)[48:].square().mean() / power
        for model in (problem(ids).compressed, case.compressed)
    ]
    assert first.held_out[0] == pytest.approx(float(errors[0]), rel=1e-4)
    assert min(first.held_out) == pytest.approx(float(errors[1]), rel=1e-4)


def test_blockwise_inputs_of_the_compressed_prefix_mend_what_came_before(ids):
    """What counts is the last block's output behind the whole compressed prefix."""
    errors = {}
    for inputs in ("compressed", "dense"):
        case = problem(ids)
        make("blockwise", inputs=inputs)(case)
        with torch.no_grad():
            outs = [m(ids[48:], output_hidden_states=True) for m in (case.compressed, case.dense)]
        ours, theirs = (out.hidden_states[-1] for out in outs)
        errors[inputs] = float((ours - theirs).square().mean())
    assert errors["compressed"] < errors["dense"]


def test_blockwise_trains_norms_only_if_asked(ids):
    case = problem(ids)
    before = state(case)
    make("blockwise", norms=True)(case)
    after = state(case)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if "norm" in name} == {
        f"model.layers.{layer}.{norm}_layernorm.weight"
        for layer in (0, 1)
        for norm in ("input", "post_attention")
    }


def test_diagonal_lora_folds_to_what_was_trained(ids, monkeypatch):
    """The folded factors give the logits of ``(B A + diag(l_b) B' diag(l_d) A') x``, term by term."""
    from rankwise.refine import _diagonals

    made = []
    init = _diagonals.Diagonals.__init__

    def remember(self, left, components, generator):
        init(self, left, components, generator)
        made.append(self)

    monkeypatch.setattr(_diagonals.Diagonals, "__init__", remember)
    case, start = problem(ids), problem(ids)
    make("diagonal_lora", components=5)(case)
    x = torch.randn(7, 56, generator=torch.Generator().manual_seed(0))
    modules = zip(factored(case.compressed), factored(start.compressed), made, strict=True)
    for folded, before, diagonals in modules:
        a, b = before.right.weight, before.left.weight
        drawn, l_b, l_d = diagonals.drawn, diagonals.l_b, diagonals.l_d
        assert len(drawn) == min(5, before.rank)
        assert float(l_b.abs().max()) > 0
        whole = b @ a + l_b.diag() @ b[:, drawn] @ l_d.diag() @ a[drawn]
        given = x[:, : before.in_features]
        torch.testing.assert_close(folded(given), given @ whole.T)
