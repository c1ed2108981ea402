"""What is printed or shipped is in step: dvc.yaml with the rules, the presets with the schema."""

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankwise.commands.init import DVC_IGNORED, DVC_SETTINGS, PRESETS, with_settings
from rankwise.validation.params import load_params
from tests.workflow.studies import ROOT, Study

NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))


def test_dvc_yaml_is_what_the_rules_give(tmp_path: Path) -> None:
    for name in ("src", "workflow", "Snakefile", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "rankwise", "sync"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    committed = (ROOT / "dvc.yaml").read_text().splitlines()
    printed = (tmp_path / "dvc.yaml").read_text().splitlines()
    difference = "\n".join(
        difflib.unified_diff(committed, printed, "dvc.yaml", "the rules", "", "", 1)
    )
    assert not difference, f"{difference}\nRun: rankwise sync"


def test_the_default_study_is_a_preset() -> None:
    assert (ROOT / "params.yaml").read_text() == (PRESETS / "embedded.yaml").read_text(), (
        "Run: cp params.yaml src/rankwise/presets/embedded.yaml"
    )


def test_dvc_is_set_up_as_in_a_new_study() -> None:
    config = (ROOT / ".dvc/config").read_text()
    for key, value in DVC_SETTINGS.items():
        assert f"{key.rpartition('.')[2]} = {value}" in config
    assert (ROOT / ".dvcignore").read_text() == DVC_IGNORED


@pytest.mark.parametrize("name", NAMES)
def test_preset_gives_a_graph_without_network(name: str, finished: Study, tmp_path: Path) -> None:
    study = finished.copy(tmp_path / "study")
    text = (PRESETS / f"{name}.yaml").read_text()
    if name == "embedded":  # the copied package comes without the embedded model and text
        sources = [
            f"prepare.corpora.{role}.source=inputs/{role}.txt" for role in ("search", "calibration")
        ]
        text = with_settings(
            text, ["prepare.model.source=inputs/model", "prepare.tasks.source=inputs/tasks",
                   "prepare.corpora.test.source=inputs/test.txt", *sources],
        )  # fmt: skip
        for role in ("search", "calibration"):
            (study.folder / f"inputs/{role}.txt").write_text("w1\n")
    if name == "local":
        text = with_settings(text, ["prepare.tasks.source=null"])
        for path in ("model", "train.txt", "test.txt"):
            (study.folder / path).symlink_to(study.folder / "inputs" / path)
    (study.folder / "params.yaml").write_text(text)
    params = load_params(study.folder / "params.yaml")
    study.print_dvc()
    runs = {name.removeprefix("build@") for name in study.stages() if name.startswith("build")}
    assert runs == set(params.runs)
    assert len(study.snakemake_would_run()) >= 10


def test_init_writes_a_study_that_has_a_graph(finished: Study, tmp_path: Path) -> None:
    said = finished.do(
        "python", "-m", "rankwise", "init", str(tmp_path / "new"), "--preset", "bolaco",
        "--model", "llama2-13b", "--set", "runs.bolaco-70.keep=0.75",
    )  # fmt: skip
    study = Study(tmp_path / "new")
    assert "rankwise run" in said
    assert "# Bolaco's setting" in (study.folder / "params.yaml").read_text()
    assert load_params(study.folder / "params.yaml").runs["bolaco-70"].keep == 0.75
    assert load_params(study.folder / "params.yaml").prepare.model.layers == 40
    assert "decompose@dense-pooled_pca-9" in study.stages()
    assert (study.folder / ".dvc").is_dir()
    again = finished.call("python", "-m", "rankwise", "init", str(study.folder))
    assert (again.returncode, "is not an empty folder" in again.stderr) == (2, True)


def test_init_names_the_nearest_preset(finished: Study, tmp_path: Path) -> None:
    done = finished.call(
        "python", "-m", "rankwise", "init", str(tmp_path / "new"), "--preset", "bolac"
    )
    assert done.returncode == 2
    assert "did you mean 'bolaco'?" in done.stderr
    assert not (tmp_path / "new").exists()
