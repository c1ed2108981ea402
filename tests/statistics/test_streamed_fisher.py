"""A streamed backward pass gives the bytes of a pass over the whole model, also after it was stopped."""

import os

import pytest
import torch
from transformers import AutoModelForCausalLM

from rankwise.errors import RankwiseError
from rankwise.params.compute import Compute
from rankwise.params.fisher import FisherParams
from rankwise.stages.fisher import command
from rankwise.statistics import streamed_fisher
from rankwise.statistics.fisher import GradientSums, gather_fisher
from rankwise.statistics.progress import Progress, hash_pass_inputs
from rankwise.statistics.streamed import Streamed
from rankwise.statistics.streamed_fisher import stream_fisher
from tests.conftest import random_ids, tiny_llama, weight_of
from tests.statistics.streaming import GROUPS, MODELS, case, contents, killed_stage, llama

ASKED = FisherParams(batch=5, streaming=True)
ADDS = 4
"""Batches of a pass: five sequences three times, then one."""


def whole(manifest, family, folder, groups=GROUPS, asked=ASKED):
    """The bytes of every group's gradients, gathered with the model in memory."""
    dtype = getattr(torch, manifest.dtype)
    model = AutoModelForCausalLM.from_pretrained(manifest.source, dtype=dtype).eval()
    found = gather_fisher(model, family, weight_of(model), random_ids(), groups, asked)
    for at, group in enumerate(found):
        group.save(folder / f"whole_{at}")
    return contents(folder / f"whole_{at}" for at in range(len(groups)))


def streamed(manifest, work, asked=ASKED):
    """The files of every group's gradients, gathered group by group."""
    progress = Progress(work, hash_pass_inputs(manifest, random_ids(), asked, Compute()))
    source = Streamed.of(manifest, torch.device("cpu"))
    return stream_fisher(source, random_ids(), GROUPS, asked, progress)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny LLaMA on disk and the bytes of its gradients."""
    folder = tmp_path_factory.mktemp("small")
    manifest, family = case(llama(), folder / "model")
    return manifest, family, whole(manifest, family, folder)


@pytest.mark.parametrize("labels", ["text", "model"])
@pytest.mark.parametrize("name", MODELS)
def test_bytes_are_those_of_a_pass_over_the_whole_model(name, labels, tmp_path):
    torch.manual_seed(0)
    dtype = name.partition(" in ")[2] or "float32"
    manifest, family = case(MODELS[name](), tmp_path / "model", dtype)
    asked = ASKED.model_copy(update={"labels": labels, "seed": 3})
    expected = whole(manifest, family, tmp_path, asked=asked)
    assert contents(streamed(manifest, tmp_path / "work", asked)) == expected


def test_one_block_is_in_memory_and_no_file_stays_for_longer_than_needed(tmp_path, monkeypatch):
    untied = tiny_llama(num_hidden_layers=4, tie_word_embeddings=False)
    manifest, _ = case(untied, tmp_path / "model")
    work, held = tmp_path / "work", []

    def watched(before):
        def step(source, ids, *rest):
            layers = enumerate(source.model.model.layers)
            head = not source.model.lm_head.weight.is_meta
            in_memory = [at for at, layer in layers if not next(layer.parameters()).is_meta]
            held.append((in_memory, head, sorted(path.stem for path in work.glob("*.bin"))))
            return before(source, ids, *rest)

        return step

    for name in ("_forward", "_backward"):
        monkeypatch.setattr(streamed_fisher, name, watched(getattr(streamed_fisher, name)))
    streamed(manifest, work)
    assert held == [
        ([0], False, []),
        ([1, 2], False, ["states_1"]),
        ([3], True, ["states_1", "states_2"]),
        ([1, 2], False, ["gradients_2", "states_1"]),
        ([0], False, ["gradients_1"]),
    ]
    assert not list(work.glob("*.bin"))


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_pass_that_was_stopped_goes_on_at_its_step(small, tmp_path, monkeypatch, stop):
    """At every one of five steps: two groups forward, three backward; what was finished is not done again."""
    manifest, _, expected = small
    steps = []
    finish = Progress.finish

    def stopping(self, *streams, gone=()):
        if len(steps) + 1 == stop:
            raise KeyboardInterrupt
        steps.append(self.done)
        finish(self, *streams, gone=gone)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "finish", stopping)
        streamed(manifest, tmp_path / "work")
    assert steps == list(range(stop - 1))
    adds = [0]
    add = GradientSums.add
    monkeypatch.setattr(
        GradientSums, "add", lambda self, g: (adds.__setitem__(0, adds[0] + 1), add(self, g))[1]
    )
    assert contents(streamed(manifest, tmp_path / "work")) == expected
    left = [4, 4, 4, 3, 1][stop - 1]  # layers whose gradients are still to be gathered
    assert adds[0] == 7 * ADDS * left


@pytest.mark.parametrize("name", ["states_1", "states_2", "gradients_2", "gradients_1"])
def test_files_that_are_not_as_they_were_written_are_refused(small, tmp_path, monkeypatch, name):
    manifest, _, _ = small
    work = tmp_path / "work"
    finish = Progress.finish

    def damaging(self, *streams, gone=()):
        finish(self, *streams, gone=gone)
        path = work / f"{name}.bin"
        if path.exists():
            data = bytearray(path.read_bytes())
            data[7] ^= 1
            path.write_bytes(data)

    monkeypatch.setattr(Progress, "finish", damaging)
    with pytest.raises(
        RankwiseError, match=rf"{name}.bin is not as it was written: XXH3 \w+ found"
    ):
        streamed(manifest, work)


def test_weights_that_changed_are_noticed(tmp_path, monkeypatch):
    manifest, _ = case(llama(), tmp_path / "model")

    def touching(*_):
        os.utime(tmp_path / "model/model.safetensors", (1, 1))

    monkeypatch.setattr(streamed_fisher, "_forward", touching)
    with pytest.raises(RankwiseError, match="was changed while the pass read it"):
        streamed(manifest, tmp_path / "work")


KILLED = """
import os, signal, sys
from rankwise.statistics.progress import Progress
finish, left = Progress.finish, [int(sys.argv.pop(1))]
def killing(self, *streams, gone=()):
    finish(self, *streams, gone=gone)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.finish = killing
from rankwise.__main__ import main
main()
"""


def test_a_killed_stage_goes_on(small, tmp_path):
    """By the stage's own command: a process that is killed on its way back, then this one."""
    manifest, family, _ = small
    given, out = killed_stage(tmp_path, manifest, ASKED, 1, "fisher", KILLED, 5)
    assert (tmp_path / "work/group_2.safetensors").exists()
    command(**given, out=out)
    assert not (tmp_path / "work").exists()
    assert contents(out) == whole(manifest, family, tmp_path, [[0], [1], [2], [3]])
