"""Gradients at outputs against autograd, and the decomposition that spends them against its definition."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from rankwise.artifacts.gradients import GroupFisher, OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.decompose.kfac import KFAC
from rankwise.errors import RankwiseError
from rankwise.linalg.factorisations import damp
from rankwise.linalg.packed import whole
from rankwise.model.families import family_of
from rankwise.params.stages import FisherParams
from rankwise.statistics.accumulators import Position
from rankwise.statistics.fisher import GradientSums, gather_fisher
from tests.conftest import random_ids, tiny_llama, weight_of

FAMILY = family_of("LlamaForCausalLM")


def test_sums_are_those_of_autograd():
    model, ids = tiny_llama().double(), random_ids(6)
    found = gather_fisher(model, FAMILY, weight_of(model), ids, [[0], [1]], FisherParams(batch=4))
    outputs = {}
    for linear in FAMILY.linears([0, 1]):
        module = model.get_submodule(linear.name)
        module.register_forward_hook(lambda *io, name=linear.name: outputs.update({name: io[-1]}))
    logits = model(ids).logits[:, :-1]
    loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    gradients = dict(zip(outputs, torch.autograd.grad(loss, list(outputs.values())), strict=True))
    for block in found:
        for name, sums in block.linears.items():
            g = gradients[name].flatten(0, 1)
            torch.testing.assert_close(sums.squares, g.square().sum(0))
            if sums.side == "in":
                g = g @ model.get_submodule(name).weight
            torch.testing.assert_close(whole(sums.second), g.T @ g)
            assert len(sums.second) == min(model.get_submodule(name).weight.shape)
    assert [block.layers for block in found] == [[0], [1]]
    assert all(p.requires_grad for p in model.parameters())


def test_labels_drawn_from_the_model_follow_the_seed():
    model, ids = tiny_llama(), random_ids(4)

    def sums(labels, seed):
        [block] = gather_fisher(
            model,
            FAMILY,
            weight_of(model),
            ids,
            [[0, 1]],
            FisherParams(labels=labels, seed=seed),
        )
        return next(iter(block.linears.values())).second.unpack()

    assert torch.equal(sums("model", 1), sums("model", 1))
    assert not torch.equal(sums("model", 1), sums("model", 2))
    assert not torch.equal(sums("model", 1), sums("text", 1))


def test_gradients_that_are_not_finite_are_named():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(RankwiseError, match=r"fisher of layer 1.*NaN or infinite"):
        gather_fisher(model, FAMILY, weight_of(model), random_ids(2), [[0, 1]], FisherParams())


def test_the_sequence_whose_gradients_are_not_finite_is_named():
    model, ids = tiny_llama(tie_word_embeddings=False), random_ids(5)
    ids[ids == 7] = 8
    ids[3, 2] = 7
    model.model.embed_tokens.weight.data[7] = float("nan")
    asked = FisherParams(batch=2)
    with pytest.raises(RankwiseError, match=r"fisher of layer 1.* in sequence 3;"):
        gather_fisher(model, FAMILY, weight_of(model), ids, [[0, 1]], asked)


def test_gradients_whose_squares_overflow_are_refused():
    found = GradientSums(FAMILY.linears([0])[0], (4, 4), None, Position(torch.device("cpu")))
    found.add(torch.full((1, 2, 4), 1e30))
    found.position.refuse_not_finite()
    with pytest.raises(RankwiseError, match=r"q_proj: second moments are NaN or infinite"):
        found.gradient(2)


def test_round_trip(tmp_path):
    model = tiny_llama()
    [block] = gather_fisher(
        model, FAMILY, weight_of(model), random_ids(2), [[0, 1]], FisherParams()
    )
    block.save(tmp_path / "b")
    found = GroupFisher.load(tmp_path / "b")
    for name, gradient in block.linears.items():
        assert torch.equal(whole(found.linears[name].second), whole(gradient.second))
        assert torch.equal(found.linears[name].squares, gradient.squares)
        assert found.linears[name].side == gradient.side
        assert found.linears[name].tokens == gradient.tokens


def random_case(out, columns, seed):
    """A weight, correlated inputs, and the gradients at its outputs, also seen from the input side."""
    rng = torch.Generator().manual_seed(seed)
    weight, mix, bend = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((out, columns), (columns, columns), (out, out))
    )
    x = torch.randn(200, columns, generator=rng, dtype=torch.float64) @ mix + 1
    g = torch.randn(200, out, generator=rng, dtype=torch.float64) @ bend
    inputs = InputStatistics(
        x.T @ x, x.mean(0, keepdim=True), torch.tensor([len(x)]), x.abs().sum(0)
    )
    squares, tokens = g.square().sum(0), len(g)
    by_output = OutputGradient(g.T @ g, "out", squares, tokens)
    by_input = OutputGradient((g @ weight).T @ (g @ weight), "in", squares, tokens)
    return weight, inputs, by_output, by_input


@pytest.mark.parametrize(("out", "columns"), [(6, 9), (9, 6), (7, 7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_tail_is_the_predicted_loss_and_least(out, columns, seed):
    weight, inputs, gradient, _ = random_case(out, columns, seed)
    method = KFAC()
    full = min(out, columns)
    factors = method(weight, replace(inputs, gradient=gradient), full)
    metric = damp(gradient.second_moment, method.gradient_damping)
    covariance = damp(inputs.covariance, method.damping)

    def predicted(approximation):
        rest = weight - approximation
        return float(torch.trace(metric @ rest @ covariance @ rest.T)) / 2

    rng = torch.Generator().manual_seed(seed)
    for rank in range(full + 1):
        ours = factors.left[:, :rank] @ factors.right[:rank]
        tail = float(factors.spectrum[rank:].square().sum())
        assert predicted(ours) == pytest.approx(tail, rel=1e-8, abs=1e-8)
        for _ in range(5 if rank else 0):
            noise = [
                torch.randn(t.shape, generator=rng, dtype=t.dtype)
                for t in (factors.left, factors.right)
            ]
            left, right = factors.left + 1e-2 * noise[0], factors.right + 1e-2 * noise[1]
            assert predicted(left[:, :rank] @ right[:rank]) >= tail * (1 - 1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_either_side_gives_the_same_approximation(seed):
    weight, inputs, by_output, by_input = random_case(9, 6, seed)
    method = KFAC()
    one, other = (method(weight, replace(inputs, gradient=g), 6) for g in (by_output, by_input))
    torch.testing.assert_close(one.spectrum, other.spectrum, rtol=1e-7, atol=1e-9)
    for rank in (1, 3, 6):
        torch.testing.assert_close(
            one.left[:, :rank] @ one.right[:rank], other.left[:, :rank] @ other.right[:rank]
        )
        torch.testing.assert_close(one.bias(rank), other.bias(rank))


def test_without_gradients_it_says_what_is_missing():
    weight, inputs, _, _ = random_case(4, 4, 0)
    with pytest.raises(RankwiseError, match="stage fisher"):
        KFAC()(weight, inputs, 2)
