"""The campaign at a reduced count; `make faults` runs the full one and writes docs/dev/reliability.md."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.workflow.studies import ROOT, Study
from tools.faults import disturbed, disturbed_stages
from tools.faults.fuzz import PARSERS, fuzz
from tools.faults.kinds import flipped_everywhere
from tools.faults.stages import finished_study, stages_of
from tools.faults.tally import Tally, put_table

SEED = 1


CANARIES = {
    "HF_TOKEN": "hf_canaryInTheMine",
    "AWS_ACCESS_KEY_ID": "AKIACANARYINTHEMINE",
    "AWS_SECRET_ACCESS_KEY": "canary/in/the/mine+secret",
    "MLFLOW_TRACKING_PASSWORD": "canaryPasswordOfMLflow",
    "DATABASE_URL": "postgresql://canaryUser:canaryWord@nowhere/db",
}
"""Secrets in the environment of a whole study."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """An undisturbed study that ran to its end, with secrets in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CANARIES.items():
            patch.setenv(name, value)
        yield finished_study(tmp_path_factory.mktemp("undisturbed") / "study")


@pytest.mark.workflow
def test_no_secret_of_the_environment_is_written_anywhere(study: Study) -> None:
    """Artifacts, logs, the engines' own files, MLflow's database, the report."""
    files = [path for path in study.folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert names >= {"mlflow.db", "index.html", "params.yaml", "dvc.lock", "track.log"}
    for path in files:
        held = path.read_bytes()
        for name, value in CANARIES.items():
            assert value.encode() not in held, f"{name} stands in {path}"
            assert value.rpartition(":")[2].encode() not in held, f"{name} stands in {path}"


def survived(tally: Tally) -> None:
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.tried == tally.survived > 0


@pytest.mark.workflow
def test_a_killed_run_in_an_odd_place_ends_with_the_same_bytes(
    study: Study, tmp_path: Path
) -> None:
    """At a random moment; while it ran, a second one was refused."""
    random, tally = Random(SEED), Tally("killed", SEED)
    with disturbed.odd_place(study, tmp_path) as copy:
        said: list[str] = []

        def second() -> None:
            disturbed.until(copy.folder / ".snakemake/rankwise.lock")
            done = copy.call(*disturbed.RUN)
            said.append(f"{done.returncode} {done.stderr}")

        beside = threading.Thread(target=second)
        beside.start()
        kill = disturbed.Kill(random.choice(disturbed.WAYS), random.uniform(6, 20))
        disturbed.kill_run(study, copy, "snakemake", [kill], tally)
        beside.join()
    survived(tally)
    assert said[0].startswith("2 ")
    assert "is in use by 'rankwise run', process" in said[0]


@pytest.mark.workflow
def test_disturbed_stages(study: Study, tmp_path: Path) -> None:
    """Killed; reading what is damaged."""
    copy = study.copy(tmp_path / "study")
    random, stages = Random(SEED), stages_of(copy)
    tally = Tally("stages", SEED)
    with disturbed_stages.warm(copy) as variables:
        for _ in range(2):
            disturbed_stages.kill_stage(random.choice(stages), variables, random, tally)
        for kind in ("vanished", "cut short", "one bit flipped"):
            [(stage, reader)] = disturbed_stages.chains(stages, 1, random)
            disturbed_stages.damage_found(stage, reader, variables, random, kind, tally)
    survived(tally)


@pytest.mark.workflow
def test_a_small_disk(study: Study, tmp_path: Path) -> None:
    """Full and read-only; where none can be mounted, a limit on the size of files stands in for it."""
    random = Random(SEED)
    for tally in disturbed_stages.on_a_disk(study, tmp_path / "disk", random, 1, SEED):
        if tally.skipped:
            stage = random.choice(stages_of(study.copy(tmp_path / tally.what[:9])))
            disturbed_stages.fill_disk(stage, random, tally)
        survived(tally)


@pytest.mark.workflow
def test_a_damaged_artifact_is_made_again_and_nothing_else(study: Study, tmp_path: Path) -> None:
    tally = Tally("repair", SEED)
    disturbed_stages.repair(study.copy(tmp_path / "study"), Random(SEED), tally)
    survived(tally)


def test_bits_and_cuts() -> None:
    survived(flipped_everywhere(SEED, 0.02))


@pytest.mark.parametrize("name", PARSERS)
def test_hostile_input(name: str) -> None:
    survived(fuzz(name, SEED, 60 if name == "params.yaml" else 200))


def test_the_table_keeps_the_rows_of_other_classes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: begin -->\n<!-- table: end -->\nafter\n")
    put_table(page, [Tally("a", 0, tried=1000, commit="1a"), Tally("b", 0, tried=1, commit="1a")])
    put_table(page, [Tally("a", 1, tried=2, lost=1, commit="2b+")])
    text = page.read_text()
    assert "| a | 2 | 1 | 1 | 0 | 1 | 2b+ |\n| b | 1 | 1 | 0 | 0 | 0 | 1a |\n" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_rows_that_come_at_once_are_all_there(tmp_path: Path) -> None:
    """Two commands may share the classes of a page."""
    page = tmp_path / "page.md"
    page.write_text("<!-- table: begin -->\n<!-- table: end -->\n")

    def rows(which: int) -> None:
        for number in range(200):
            put_table(page, [Tally(f"{which} {number}", 0, tried=1)])

    beside = [threading.Thread(target=rows, args=(which,)) for which in range(4)]
    for thread in beside:
        thread.start()
    for thread in beside:
        thread.join()
    assert page.read_text().count("| 1 | 1 | 0 | 0 | 0 |") == 800


def test_a_row_names_the_commit_that_was_tried() -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    row = Tally("a", 0, tried=1).row()
    assert head.stdout.decode().startswith(row.split("|")[-2].strip().removesuffix("+"))
