"""Checkpoints of a tiny model, built with every decomposer: counted by the budget, loaded in another process."""

import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from rankwise.budget.costs import Kept
from rankwise.checkpoint import loading, saving
from rankwise.checkpoint.weight_files import count_parameters, read_headers
from rankwise.decompose import decomposers
from rankwise.inputs.sources import hash_files
from rankwise.model.families import family_of
from rankwise.records.checkpoint import CheckpointManifest
from tests.checkpoint.decomposed import build, decompose, statistics_of
from tests.conftest import random_ids, tiny_llama
from tests.saved_models import ARCHITECTURE


@pytest.fixture(params=sorted(decomposers))
def compressed(request, tmp_path):
    """Manifest, factors, choices and record of a tiny model, by every decomposer."""
    return decompose(request.param, tmp_path)


def test_budget_counts_what_the_checkpoint_holds(compressed, tmp_path):
    manifest, factors, choices, record = compressed
    build(manifest, factors, choices, tmp_path / "c")
    names = family_of(ARCHITECTURE).linears([0, 1])
    stored = load_file(tmp_path / "c" / "model.safetensors")
    bytes_of = {
        linear.name: [t.nbytes for key, t in stored.items() if key.startswith(f"{linear.name}.")]
        for linear in names
    }
    for name, found in bytes_of.items():
        assert math.ceil(sum(found) / 4) == record.linears[name].parameters
    count_parameters = sum(math.ceil(sum(found) / 4) for found in bytes_of.values())
    reference = tiny_llama(attention_bias=True)
    before = sum(
        p.numel() for linear in names for p in reference.get_submodule(linear.name).parameters()
    )
    assert count_parameters / before == pytest.approx(record.keep_reached, abs=1e-12)
    assert count_parameters == sum(linear.parameters for linear in record.linears.values())
    assert record.keep_reached <= 0.7
    entries = sum(linear.entries for linear in record.linears.values())
    assert (record.keep_index_free < record.keep_reached) == (entries > 0)


def test_full_rank_leaves_logits_unchanged(tmp_path):
    """Rank min(out, in) in every linear is another way to write the same model."""
    manifest, factors, _, _ = decompose("svd", tmp_path)
    model, _ = loading.load_dense(manifest)
    ids = random_ids(2, 10)
    with torch.no_grad():
        before = model(ids).logits
        [block] = statistics_of(model, random_ids(), [[0, 1]])
        for name in factors:
            module = model.get_submodule(name)
            layer = int(name.split(".")[2])
            site = next(x.site for x in family_of(ARCHITECTURE).linears([layer]) if x.name == name)
            whole = decomposers["svd"]()(
                module.weight.double(), block.sites[layer, site], min(module.weight.shape)
            )
            whole = type(whole)(
                whole.left, whole.right, whole.spectrum, offset=getattr(module, "bias", None)
            )
            saving.replace_linear(model, name, whole, Kept(min(module.weight.shape)))
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def elsewhere():
    """A process that never built a model: give it a manifest and token ids, it says what it loads."""
    code = (
        "import json, sys, torch; from pathlib import Path; from rankwise.checkpoint import loading\n"
        "torch.set_num_threads(1)\n"
        "for line in sys.stdin:\n"
        "    path, ids = json.loads(line)\n"
        "    loaded, ids = loading.load_model(Path(path)), torch.tensor(ids)\n"
        "    logits = loaded.model(ids).logits.flatten()[:200].tolist()\n"
        "    made = loaded.model.generate(\n"
        "        ids[:, :3], min_new_tokens=4, max_new_tokens=4, do_sample=False)\n"
        "    facts = [loaded.parameters, loaded.run, loaded.checkpoint_bytes]\n"
        "    print(json.dumps([facts, logits, list(made.shape)]), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def ask(manifest, ids):
            process.stdin.write(json.dumps([str(manifest), ids.tolist()]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask


def test_checkpoint_loads_in_another_process(compressed, elsewhere, tmp_path):
    manifest, factors, choices, record = compressed
    model = build(manifest, factors, choices, tmp_path / "it")
    CheckpointManifest(
        run="it",
        keep_asked=0.7,
        keep_reached=record.keep_reached,
        parameters=count_parameters(read_headers(tmp_path / "it")),
        files=hash_files(tmp_path / "it", ("*",)),
    ).save(tmp_path / "it.json")
    ids = random_ids(2, 10)
    with torch.no_grad():
        expected = model.eval()(ids).logits
    facts, logits, generated = elsewhere(tmp_path / "it.json", ids)
    weights = (tmp_path / "it" / "model.safetensors").stat().st_size
    assert facts == [record.parameters_reached, "it", weights]
    torch.testing.assert_close(torch.tensor(logits), expected.flatten()[:200])
    assert generated == [2, 7]
