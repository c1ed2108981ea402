"""A checkpoint that is not whole is refused in one sentence that names file and field; nothing is loaded half."""

import json
import shutil

import pytest
from transformers import AutoModelForCausalLM

from rankwise.checkpoint.loading import load_folder, load_model
from rankwise.errors import RankwiseError
from rankwise.hub.checks import INDEX, CheckpointError
from tests.checkpoints import made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint in several shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankwise.checkpoint.saving.SHARD_SIZE", "20KB")
        found = made(tmp_path_factory.mktemp("whole"), "untied", "svd")
    assert len(list(found.folder.glob("*.safetensors"))) > 2
    return found


def in_json(name, *path, value):
    """A change of one place in a JSON file, in the first entry where the path says None."""

    def spoil(folder):
        file = folder / name
        given = at = json.loads(file.read_text())
        *before, last = [*path]
        for part in before:
            at = at[next(iter(at)) if part is None else part]
        at[next(iter(at)) if last is None else last] = value
        file.write_text(json.dumps(given))

    return spoil


def cut(folder):
    path = min(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def lost(folder):
    min(folder.glob("*.safetensors")).unlink()


def foreign(folder):
    given = json.loads((folder / "tokenizer.json").read_text())
    given["model"]["vocab"]["one more"] = 72
    (folder / "tokenizer.json").write_text(json.dumps(given))


LINEAR = "rankwise", "linears", None
SPOILT = {
    "a shard is missing": (lost, r"index.json, weight_map: model-00001-of-\d+.safetensors is miss"),
    "a shard is cut short": (cut, r"model-00001-of-\d+.safetensors is not a whole safetensors file"),
    "the index leads out": (
        in_json(INDEX, "weight_map", None, value="../model.safetensors"),
        r"index.json, weight_map: '../model.safetensors' is not the name of a safetensors file in",
    ),
    "the index is absolute": (
        in_json(INDEX, "weight_map", None, value="/etc/passwd"),
        r"index.json, weight_map: '/etc/passwd' is not the name",
    ),
    "the index names no files": (in_json(INDEX, "weight_map", value=3), r"index.json, weight_map: "),
    "another rank": (
        in_json("config.json", *LINEAR, "rank", value=3),
        r"do not fit config.json: rankwise.linears.model.layers.0.mlp.down_proj says that",
    ),
    "a rank beyond the matrix": (
        in_json("config.json", *LINEAR, "rank", value=10**12),
        r"rankwise.linears.model.layers.0.mlp.down_proj.rank: expected 1 to 32, found 1000000000000",
    ),
    "no rank": (in_json("config.json", *LINEAR, "rank", value=None), r"down_proj.rank: expected 1 to"),
    "no shape": (in_json("config.json", *LINEAR, "shape", value=[1]), r"shape: expected \[out, in\]"),
    "entries without places": (
        in_json("config.json", *LINEAR, "entries", value=5), r"down_proj.values is \[5\], .* no such"
    ),
    "a linear that the model has not": (
        in_json("config.json", "rankwise", "linears", "model.layers.9.x", value={"shape": [4, 4], "rank": 1, "bias": False}),
        r"model.layers.9.x",
    ),
    "an unknown schema": (
        in_json("config.json", "rankwise", "schema", value=99),
        r"rankwise.schema: expected 3, found 99",
    ),
    "an unknown model type": (
        in_json("config.json", "rankwise", "model_type", value="lama"),
        r"rankwise.model_type: this transformers knows no 'lama'",
    ),
    "another model's tokenizer": (foreign, r"tokenizer.json: token 72 has no embedding"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), SPOILT.values(), ids=SPOILT)
def test_what_is_not_whole_is_refused(whole, tmp_path, spoil, says):
    shutil.copytree(whole.folder, tmp_path / "it")
    spoil(tmp_path / "it")
    with pytest.raises(RankwiseError, match=says) as refused:
        load_folder(tmp_path / "it")
    assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match=says):
        AutoModelForCausalLM.from_pretrained(tmp_path / "it")


def test_the_manifest_knows_a_file_that_was_cut(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "it")
    shutil.copy(whole.manifest, tmp_path / "it.json")
    cut(tmp_path / "it")
    with pytest.raises(RankwiseError, match=r"safetensors has .* bytes, its manifest says"):
        load_model(tmp_path / "it.json")


def test_a_special_token_without_an_embedding_is_no_mistake(whole, tmp_path):
    """Gemma 3's tokenizer has one for images; text models have no row for it."""
    shutil.copytree(whole.folder, tmp_path / "it")
    given = json.loads((tmp_path / "it/tokenizer.json").read_text())
    given["model"]["vocab"] |= {f"w{n}": n for n in range(67, 72)}
    given["added_tokens"].append({**given["added_tokens"][0], "id": 72, "content": "<image>"})
    (tmp_path / "it/tokenizer.json").write_text(json.dumps(given))
    assert load_folder(tmp_path / "it")[1].convert_tokens_to_ids("<image>") == 72
