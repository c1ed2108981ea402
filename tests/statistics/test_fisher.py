"""Gradients at outputs against autograd; those that are not finite are named."""

import pytest
import torch
from torch.nn import functional

from rankwise.artifacts.gradients import GroupFisher
from rankwise.errors import RankwiseError
from rankwise.linalg.packed import whole
from rankwise.model.families import family_of
from rankwise.params.fisher import FisherParams
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
