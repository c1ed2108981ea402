"""What a build writes is opened again: faults put in between stop it, and nothing that looks finished stays."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from rankwise.checkpoint import saving
from rankwise.errors import RankwiseError
from rankwise.records.build import BuildRecord
from tests.checkpoints import prepare
from tests.families import ids

LINEAR = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("check"), "untied", "svd")


def nan(tensors):
    tensors[f"{LINEAR}.left.weight"][3, 0] = float("nan")


def absent(tensors):
    del tensors[f"{LINEAR}.right.weight"]


def other(tensors):
    tensors[f"{LINEAR}.left.weight"] *= 1.01


def swapped(tensors):
    """An untouched tensor of another linear: finite, of the right shape, and wrong."""
    name = f"{LINEAR}.right.weight"
    tensors[name] = tensors[name.replace("up_proj", "gate_proj")].clone()


def norm(tensors):
    """What no linear's check sees."""
    tensors["model.norm.weight"] *= 2


FAULTS = {
    nan: rf"{LINEAR}.left.weight of the checkpoint holds NaN",
    absent: rf"do not fit config.json: rankwise.linears.{LINEAR} says that {LINEAR}.right",
    other: rf"build: {LINEAR} of the checkpoint is .* away from the factors",
    swapped: rf"build: {LINEAR} of the checkpoint is .* away from the factors",
    norm: r"build \(largest error: .*\): the checkpoint, opened again, loses",
}


def nothing_stays(study):
    return not list((study.study / "data/checkpoints").glob("*"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_stops_the_build_and_names_the_matrix(study, monkeypatch, fault):
    save = saving.save_checkpoint

    def spoiling(model, tokenizer, folder, *rest):
        save(model, tokenizer, folder, *rest)
        tensors = load_file(folder / "model.safetensors")
        fault(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    monkeypatch.setattr(saving, "save_checkpoint", spoiling)
    with pytest.raises(RankwiseError, match=FAULTS[fault]):
        study.build(worse_than_unigram="record")
    assert nothing_stays(study)


def test_a_model_worse_than_counting_is_refused_or_recorded(study):
    with pytest.raises(RankwiseError, match=r"token frequencies alone .* the model is unusable"):
        study.build()
    assert nothing_stays(study)
    study.build(worse_than_unigram="record")
    record = BuildRecord.load(study.folder / "record.json")
    assert record.check.loss > record.check.unigram_loss
    assert record.check.loss == pytest.approx(record.check.expected_loss, abs=1e-5)
    counts = torch.bincount(ids().flatten(), minlength=72).double() + 1
    unigram = -(counts / counts.sum()).log()[ids()[:, 1:]].mean()
    assert record.check.unigram_loss == pytest.approx(float(unigram))
    for name, linear in record.linears.items():
        assert linear.error == pytest.approx(linear.predicted_error, abs=1e-5), name
