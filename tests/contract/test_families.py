"""What every family promises, on a tiny random model of each architecture."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rankwise.errors import RankwiseError
from rankwise.models import families, family_of

MODEL_TYPES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}


@pytest.fixture(params=sorted(families()))
def model(request):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        MODEL_TYPES[request.param],
        vocab_size=67,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        architectures=[request.param],
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def test_every_linear_of_a_block_is_named_exactly_once(model):
    family = family_of(model.config.architectures[0])
    named = [linear.name for linear in family.linears([0, 1])]
    there = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(family.layers)
    ]
    assert sorted(named) == sorted(there)


def test_linears_of_one_site_see_the_same_tensor(model):
    family = family_of(model.config.architectures[0])
    seen = {}
    for linear in family.linears([0, 1]):
        model.get_submodule(linear.name).register_forward_pre_hook(
            lambda _, x, linear=linear: seen.setdefault((linear.layer, linear.site), []).append(
                x[0]
            )
        )
    model(torch.arange(12)[None])
    assert len(seen) == 8
    for tensors in seen.values():
        assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)


def test_sublayers_hold_every_linear_and_add_up_to_the_layer(model):
    """Hidden state before + outputs of the sublayers, in order = hidden state behind the layer."""
    family = family_of(model.config.architectures[0])
    assert {linear.sublayer for linear in family.linears([0, 1])} == set(family.sublayers)
    states = {}

    def first(output):
        return output[0] if isinstance(output, tuple) else output

    block = model.get_submodule(f"{family.layers}.1")
    block.register_forward_hook(lambda _, x, y: states.update(before=x[0], behind=first(y)))
    for name, path in family.sublayers.items():
        block.get_submodule(path).register_forward_hook(
            lambda _, x, y, name=name: states.update({name: first(y)})
        )
    model(torch.arange(12)[None])
    added = sum(states[name] for name in family.sublayers)
    torch.testing.assert_close(states["before"] + added, states["behind"])


def test_unknown_architecture_is_refused_with_the_nearest():
    with pytest.raises(RankwiseError, match=r"Lama2ForCausalLM.*did you mean 'LlamaForCausalLM'"):
        family_of("Lama2ForCausalLM")
