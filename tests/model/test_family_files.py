"""Looking a family up, and every mistake that one can hold: a sentence with file and key."""

from pathlib import Path

import pytest
from torch import nn

from rankwise.artifacts.statistics import GroupStatistics
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.svd import SVD
from rankwise.errors import RankwiseError
from rankwise.model.check import check_family
from rankwise.model.families import families, family_of
from rankwise.model.weights import Weights
from tests.families import CPU, LAYERS, tiny


def test_unknown_architecture_is_refused_with_the_nearest():
    with pytest.raises(
        RankwiseError, match=r"Lama2ForCausalLM.*did you mean 'LlamaForCausalLM'.*docs/"
    ):
        family_of("Lama2ForCausalLM")


def test_an_architecture_under_other_settings_is_refused():
    settings = {"num_experts": 4, "mlp_only_layers": [0], "decoder_sparse_step": 1}
    with pytest.raises(RankwiseError, match=r"qwen3_moe: mlp_only_layers = \[\], here \[0\]"):
        family_of("Qwen3MoeForCausalLM", settings.get)


OWN = """\
architectures: [LlamaForCausalLM]
layers: model.layers
sublayers:
  all: {adds: mlp, sites: {attention_in: {q: self_attn.q_proj}}}
dense: [self_attn.k_proj, self_attn.v_proj]
"""


def own(folder: Path, text: str) -> Path:
    (folder / "own.yaml").write_text(text)
    return folder


def test_a_study_s_own_family_comes_first(tmp_path):
    family = family_of("LlamaForCausalLM", own=own(tmp_path, OWN))
    assert [linear.kind for linear in family.linears([0])] == ["q"]
    assert family_of("MistralForCausalLM", own=tmp_path) == families()["llama"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("layers:", "layer:", "own.yaml: layer: no such key .* did you mean 'layers'"),
        ("adds: mlp,", "", "own.yaml: sublayers.all: .*one of 'adds' and 'gives'"),
        ("attention_in", "attention.in", "site 'attention.in': a site's name has no dot"),
        ("self_attn.k_proj,", "self_attn.q_proj,", "'self_attn.q_proj' appears twice"),
        ("adds: mlp", "adds: [mlp", "own.yaml is not plain YAML"),
        (OWN, "- 1", "own.yaml must hold the keys of a family"),
    ],
)  # fmt: skip
def test_a_broken_family_file_is_named_with_its_key(tmp_path, old, new, says):
    assert old in OWN
    with pytest.raises(RankwiseError, match=says):
        family_of("LlamaForCausalLM", own=own(tmp_path, OWN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model.layers", "model.blocks", "layers: the model has no module 'model.blocks'"),
        ("adds: mlp", "adds: mpl", "sublayers.all.adds: the model has no module 'model.layers.0.mpl'"),
        ("q: self_attn.q_proj", "q: attn.q", "sites.attention_in.q: the model has no module"),
        ("", "", "that it does not name: model.layers.0.self_attn.o_proj"),
        ("dense:", "transposed: true\ndense:", "look at the family's 'transposed' and 'stored'"),
    ],
)  # fmt: skip
def test_a_family_that_does_not_fit_the_model_is_named_with_its_key(tmp_path, old, new, says):
    model, _ = tiny("untied")
    model.get_submodule("model.layers.0.self_attn").q_proj = nn.Linear(32, 24, bias=False)
    model.save_pretrained(tmp_path)
    family = family_of("LlamaForCausalLM", own=own(tmp_path, OWN.replace(old, new, 1)))
    with pytest.raises(RankwiseError, match=says):
        check_family(family, model, Weights(tmp_path, family), 2)


def test_a_type_to_leave_dense_that_the_family_has_not(tmp_path):
    model, family = tiny("phi3-Phi3ForCausalLM")
    model.save_pretrained(tmp_path)
    block = GroupStatistics(LAYERS, {})
    with pytest.raises(
        RankwiseError, match=r"'v', a type of linear that this model has not; .*qkv"
    ):
        dict(factor_group(Weights(tmp_path, family), block, SVD(dense=("v",)), CPU))
