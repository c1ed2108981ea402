"""`rankwise verify` names whatever is changed in a checkpoint, with a manifest or with its own record."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_json, with_checksum
from rankwise.params.runs import Run
from tests.checkpoint.factored import compress, factor


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budgets")
    factor(folder)
    return folder


@pytest.fixture(scope="module")
def built(study):
    """A checkpoint with sparse parts, and its manifest beside it."""
    run = Run(decompose="kfac_sparse", allocate="uniform", keep=0.6)
    return compress(study, "kfac_sparse", run)[2]


@pytest.fixture
def checkpoint(built, tmp_path):
    """A copy to change."""
    shutil.copytree(built, tmp_path / "it")
    shutil.copy(built.with_suffix(".json"), tmp_path)
    return tmp_path / "it"


def verify(path, code):
    """What is found, as JSON."""
    done = CliRunner().invoke(app, ["verify", str(path), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_whole_checkpoint_by_folder_by_manifest_and_alone(checkpoint):
    manifest = checkpoint.with_suffix(".json")
    found = verify(checkpoint, 0)
    assert found == verify(manifest, 0)
    assert found["against"] == [str(checkpoint / "files.json"), str(manifest)]
    assert found["parameters"] == read_json(manifest)["parameters"]
    assert found["files"] == len(list(checkpoint.iterdir()))
    manifest.unlink()
    alone = verify(checkpoint, 0)
    assert alone["against"] == [str(checkpoint / "files.json")]
    assert alone["run"] == "it"
    said = CliRunner().invoke(app, ["verify", str(checkpoint)]).stdout
    assert said.endswith("as it was written\n")


@pytest.mark.parametrize("alone", [False, True])
def test_every_changed_file_is_named(checkpoint, alone):
    if alone:
        checkpoint.with_suffix(".json").unlink()
    for path in sorted(checkpoint.iterdir()):
        if alone and path.name == "README.md":
            continue  # made from the record, which does not know it
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert any(path.name in problem for problem in verify(checkpoint, 2)["problems"])
        path.unlink()
        if path.name not in ("record.json", "files.json"):
            assert any(path.name in problem for problem in verify(checkpoint, 2)["problems"])
        path.write_bytes(whole)
    (checkpoint / "more.py").touch()
    assert "more.py is in no manifest" in verify(checkpoint, 2)["problems"][0]


def test_a_record_that_says_otherwise(checkpoint):
    checkpoint.with_suffix(".json").unlink()
    record, files = read_json(checkpoint / "record.json"), read_json(checkpoint / "files.json")
    name = next(n for n, linear in record["allocation"]["linears"].items() if linear["rank"])
    record["allocation"]["linears"][name]["rank"] += 1
    write_json(checkpoint / "record.json", with_checksum(record))
    files["files"] = [file for file in files["files"] if file["path"] != "record.json"]
    files["parameters"] += 5
    write_json(checkpoint / "files.json", with_checksum(files))
    unlisted, ranks, count = verify(checkpoint, 2)["problems"]
    assert "record.json is in no manifest" in unlisted
    assert f"{name}: rank and entries" in ranks
    assert "parameters, " in count
    files["files"][0]["path"] = "../it.json"
    write_json(checkpoint / "files.json", with_checksum(files))
    assert any("is not a path below" in problem for problem in verify(checkpoint, 2)["problems"])


def test_a_folder_that_says_nothing_of_itself(checkpoint):
    checkpoint.with_suffix(".json").unlink()
    (checkpoint / "files.json").unlink()
    done = CliRunner().invoke(app, ["verify", str(checkpoint)])
    assert "nothing says what this checkpoint should be" in str(done.exception)
