"""A streamed pass gives the bytes of a pass over the whole model, also after it was stopped."""

import os
import random
import re
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
)

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_json
from rankwise.inputs.sources import MODEL_FILES, hash_files
from rankwise.model.weights import spans
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.stages.covariance import command
from rankwise.statistics import streamed_covariance
from rankwise.statistics.accumulators import SiteSums
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.progress import Progress, hash_pass_inputs
from rankwise.statistics.streamed import Streamed
from rankwise.statistics.streamed_covariance import stream_covariance
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.statistics.streaming import GROUPS, MODELS, case, contents, killed_stage, llama

ASKED = CovarianceParams(pools=4, batch=3, moments="smaller", streaming=True)
ADDS = (16 // 4 + 1) // 2 * 4
"""Batches of a pass: those of four pools of four sequences, three and one."""


def whole(manifest, family, folder, groups=GROUPS):
    """The bytes of every group's statistics, gathered with the model in memory."""
    dtype = getattr(torch, manifest.dtype)
    model = AutoModelForCausalLM.from_pretrained(manifest.source, dtype=dtype).eval()
    found = gather_covariance(model, family, weight_of(model), random_ids(), groups, ASKED)
    for at, group in enumerate(found):
        group.save(folder / f"whole_{at}")
    return contents(folder / f"whole_{at}" for at in range(len(groups)))


def streamed(manifest, family, work, asked=ASKED):
    """The files of every group's statistics, gathered group by group."""
    progress = Progress(work, hash_pass_inputs(manifest, random_ids(), asked, Compute()))
    return stream_covariance(
        Streamed.of(manifest, torch.device("cpu")), random_ids(), GROUPS, asked, progress
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny LLaMA on disk, its family, the bytes of its statistics."""
    folder = tmp_path_factory.mktemp("small")
    manifest, family = case(llama(), folder / "model")
    return manifest, family, whole(manifest, family, folder)


@pytest.mark.parametrize("name", MODELS)
def test_bytes_are_those_of_a_pass_over_the_whole_model(name, tmp_path):
    torch.manual_seed(0)
    dtype = name.partition(" in ")[2] or "float32"
    manifest, family = case(MODELS[name](), tmp_path / "model", dtype)
    expected = whole(manifest, family, tmp_path)
    assert contents(streamed(manifest, family, tmp_path / "work")) == expected


def test_one_block_is_in_memory_at_a_time(small, tmp_path, monkeypatch):
    manifest, family, _ = small
    held = []

    def watched(model, *given):
        found = gather_covariance(model, *given)
        layers = enumerate(model.model.layers)
        held.append([at for at, layer in layers if not next(layer.parameters()).is_meta])
        held.append([path.name for path in sorted((tmp_path / "work").glob("states_*"))])
        return found

    monkeypatch.setattr(streamed_covariance, "gather_covariance", watched)
    streamed(manifest, family, tmp_path / "work")
    assert held == [
        [0], ["states_1.bin"], [1, 2], ["states_1.bin", "states_2.bin"], [3], ["states_2.bin"],
    ]  # fmt: skip
    assert not list((tmp_path / "work").glob("states_*"))


@pytest.mark.parametrize("group", range(len(GROUPS)))
def test_a_pass_that_was_stopped_goes_on_at_its_block(small, tmp_path, monkeypatch, group):
    manifest, family, expected = small
    batches = 4 * ADDS // 4 * sum(map(len, GROUPS[:group]))  # four sites a layer
    sites = 4 * batches + random.Random(group).randrange(1, 4 * ADDS * len(GROUPS[group]))
    counts = {"adds": 0}

    def add(self, x, before=SiteSums.add):
        counts["adds"] += 1
        if counts["adds"] == counts.get("stop"):
            raise KeyboardInterrupt
        before(self, x)

    monkeypatch.setattr(SiteSums, "add", add)
    counts["stop"] = sites
    with pytest.raises(KeyboardInterrupt):
        streamed(manifest, family, tmp_path / "work")
    done = {path.name for path in (tmp_path / "work").glob("group_*")}
    assert done == {f"group_{at}.safetensors" for at in range(group)}
    counts.update(adds=0, stop=None)
    assert contents(streamed(manifest, family, tmp_path / "work")) == expected
    assert counts["adds"] == 4 * ADDS * sum(map(len, GROUPS[group:]))


def test_what_is_left_of_another_pass_is_thrown_away(small, tmp_path, monkeypatch, caplog):
    manifest, family, expected = small

    def stopped(*_, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            streamed(manifest, family, tmp_path / "work")
    streamed(manifest, family, tmp_path / "work", ASKED.model_copy(update={"batch": 2}))
    with caplog.at_level("INFO", "rankwise.progress"):
        again = streamed(manifest, family, tmp_path / "work")
    assert "unfinished pass over another model, text, section or version" in caplog.text
    assert contents(again) == expected


def test_weights_that_changed_are_noticed(tmp_path, monkeypatch):
    manifest, family = case(llama(), tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"

    def touching(*given):
        os.utime(weights, (1, 1))
        return gather_covariance(*given)

    with monkeypatch.context() as patch, pytest.raises(RankwiseError, match="was changed while"):
        patch.setattr(streamed_covariance, "gather_covariance", touching)
        streamed(manifest, family, tmp_path / "work")
    assert not list((tmp_path / "work").glob("group_*"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RankwiseError, match=r"model.safetensors is not the file of its manifest"):
        streamed(manifest, family, tmp_path / "work")


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_hidden_states_that_are_not_as_they_were_written_are_refused(
    small, tmp_path, monkeypatch, damage
):
    manifest, family, expected = small

    def damaging(*given):
        path = tmp_path / "work/states_2.bin"
        if path.exists() and damage == "flipped":
            data = bytearray(path.read_bytes())
            data[-3] ^= 1
            path.write_bytes(data)
        elif path.exists():
            os.truncate(path, 100)
        return gather_covariance(*given)

    with monkeypatch.context() as patch, pytest.raises(RankwiseError) as refused:
        patch.setattr(streamed_covariance, "gather_covariance", damaging)
        streamed(manifest, family, tmp_path / "work")
    assert re.search(
        r"states_2.bin (is not as it was written: XXH3|ends before)", str(refused.value)
    )
    assert f"rm -r {tmp_path / 'work'} && rankwise run" in str(refused.value)
    assert read_json(tmp_path / "work/state.json")["done"] == 2
    write_json(tmp_path / "work/state.json", {"schema": "rankwise/pass@1", "done": 3})
    with pytest.raises(RankwiseError, match=r"state.json"):
        streamed(manifest, family, tmp_path / "work")
    shutil.rmtree(tmp_path / "work")
    assert contents(streamed(manifest, family, tmp_path / "work")) == expected


def test_what_cannot_be_streamed_is_said(tmp_path):
    manifest, family = case(llama(), tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    tensors = load_file(path)
    tensors["layers.2.up"] = tensors.pop("model.layers.2.mlp.up_proj.weight")
    save_file(tensors, path, {"format": "pt"})
    manifest = manifest.model_copy(update={"files": hash_files(tmp_path / "model", MODEL_FILES)})
    with pytest.raises(RankwiseError, match=r"hold no weight for 'model.layers.2.mlp.up_proj'"):
        streamed(manifest, family, tmp_path / "work")


KILLED = """
import os, signal, sys
from rankwise.statistics.accumulators import SiteSums
add, left = SiteSums.add, [int(sys.argv.pop(1))]
def killing(self, x):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, x)
SiteSums.add = killing
from rankwise.__main__ import main
main()
"""


def test_a_killed_stage_goes_on(small, tmp_path):
    """By the stage's own command: a process that is killed in the second group, then this one."""
    manifest, family, _ = small
    left = 4 * 2 * ADDS + 5
    given, out = killed_stage(tmp_path, manifest, ASKED, 2, "covariance", KILLED, left)
    assert (tmp_path / "work/group_0.safetensors").exists()
    command(**given, out=out)
    assert not (tmp_path / "work").exists()
    assert contents(out) == whole(manifest, family, tmp_path, [[0, 1], [2, 3]])


def in_cache(path, begin, end):
    """Tell whether the system has these bytes of a file in memory."""
    with path.open("rb") as stream_covariance:
        buffer = bytearray(end - begin)
        try:
            return os.preadv(stream_covariance.fileno(), [buffer], begin, os.RWF_NOWAIT) == len(
                buffer
            )
        except BlockingIOError:
            return False


def test_the_next_block_is_read_while_this_one_is_computed(tmp_path):
    """By the system, which is told ahead: its bytes are in memory though nobody read them."""
    model = tiny_llama(num_hidden_layers=4, intermediate_size=2048, hidden_size=256)
    manifest, _ = case(model, tmp_path)
    source, file = Streamed.of(manifest, torch.device("cpu")), tmp_path / "model.safetensors"
    name = "model.layers.1.mlp.down_proj.weight"
    begin, end = spans(file)[name]
    assert load_file(file)[name].numpy().tobytes() == file.read_bytes()[begin:end]
    with file.open("rb") as stream_covariance:
        os.fsync(stream_covariance.fileno())
        os.posix_fadvise(stream_covariance.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_cache(file, begin, end):
        pytest.skip("the temporary folder's file system lies in memory")
    source.ahead([[1]])
    give_up = time.monotonic() + 20
    while not in_cache(file, begin, end):
        assert time.monotonic() < give_up
        time.sleep(0.01)
