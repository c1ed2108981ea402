"""`rankwise run` on a real tiny study: same bytes from both engines, nothing twice, clear refusals."""

import json
import os
import re
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from rankwise.commands import sync
from rankwise.commands.init import PRESETS, with_settings
from rankwise.commands.run import run
from rankwise.workflow import engines
from rankwise.workflow.due import DueJob
from rankwise.workflow.imports import closure
from tests.workflow.studies import Study

BAD = {
    "no such key": ("evaluate.bach=4", "evaluate.bach: no such key"),
    "keep 0": ("runs.plain.keep=0", "runs.plain.keep: 0 given"),
    "keep above 1": ("runs.plain.keep=1.5", "runs.plain.keep: 1.5 given"),
    "unknown method": ("runs.plain.decompose=sdv", "did you mean 'svd'?"),
    "no such model": ("prepare.model.source=nowhere", "folder 'nowhere' does not exist"),
}
COLUMNS = {
    "run", "keep_asked", "keep_reached", "perplexity", "zero_shot_average", "parameters",
    "checkpoint_bytes",
}  # fmt: skip


def test_both_engines_write_the_same_bytes(both: tuple[Study, Study]) -> None:
    by_snakemake, by_dvc = both
    hashes = by_snakemake.hashes()
    folders = {name.partition("/")[0] for name in hashes}
    assert folders == {
        "prepare", "sample", "covariance", "fisher", "decompose", "allocate", "checkpoints",
        "refine", "scores", "items", "report",
    }  # fmt: skip
    assert hashes == by_dvc.hashes()


def test_jobs_that_start_by_themselves_write_the_same_bytes(
    both: tuple[Study, Study], tmp_path: Path
) -> None:
    """Bare Snakemake, one job of every stage at least."""
    study = both[0].copy(tmp_path / "study")
    before = study.hashes()
    wanted = [
        "data/scores/trained.json",
        "data/allocate/searched.json",
        "data/decompose/dense/kfac/group_0.safetensors",
    ]
    said = study.do("snakemake", *wanted, "--forceall", "--cores", "1")
    done = set(re.findall(r"Rule: (\w+)", said))
    assert done >= {
        "prepare_model", "prepare_corpora", "prepare_tasks", "sample", "covariance", "fisher",
        "decompose", "allocate", "build", "refine", "evaluate",
    }  # fmt: skip
    assert study.hashes() == before


def test_each_engine_leaves_the_other_nothing_to_do(both: tuple[Study, Study]) -> None:
    for study in both:
        assert study.snakemake_would_run() == set()
        assert study.dvc_would_run() == set()
    assert "Running stage" not in both[0].do("dvc", "repro")


def test_second_run_does_nothing_and_says_so(both: tuple[Study, Study]) -> None:
    study = both[0]
    times = {path: path.stat().st_mtime_ns for path in (study.folder / "data").rglob("*")}
    said = study.do("python", "-m", "rankwise", "run")
    assert "Nothing to be done" in said
    assert "data/report/index.html" in said
    assert {path: path.stat().st_mtime_ns for path in (study.folder / "data").rglob("*")} == times


def test_summary_has_the_rows_of_the_table(both: tuple[Study, Study]) -> None:
    rows = json.loads((both[0].folder / "data/report/summary.json").read_text())["rows"]
    assert [row["run"] for row in rows] == ["dense", "plain", "searched", "ours", "trained"]
    assert all(set(row) >= COLUMNS for row in rows)
    assert all(row["keep_reached"] <= row["keep_asked"] for row in rows)


@pytest.mark.parametrize(("setting", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(study: Study, setting: str, sentence: str) -> None:
    refused(study, "snakemake", setting, sentence)


def test_bad_input_to_run_is_the_same_sentence(study: Study) -> None:
    refused(study, "python -m rankwise run", *BAD["keep above 1"])


def refused(study: Study, command: str, setting: str, sentence: str) -> None:
    """Check that a command with one key changed says so, exits with 2 and runs nothing."""
    before = study.hashes()
    study.change(setting)
    done = study.call(*command.split())
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert sentence in said
    assert "Traceback" not in said
    assert study.hashes() == before


def test_a_failing_job_is_named_with_its_log(study: Study) -> None:
    stages = study.folder / "package/rankwise/__main__.py"
    failure = (
        'if {"evaluate", "plain"} <= {*sys.argv} or "report" in sys.argv:\n'
        '    sys.exit("rankwise: no such luck")\n'
    )
    stages.write_text(stages.read_text().replace("import sys\n", f"import sys\n{failure}", 1))
    study.change("evaluate.batch=4")
    done = study.call("python", "-m", "rankwise", "run", "--cold")
    assert done.returncode == 1
    assert "evaluate/plain failed; its log is logs/evaluate/plain.log" in done.stderr
    assert study.dvc_would_run() != set()


@pytest.mark.parametrize(
    ("device", "cold", "variables"),
    [("cpu", False, {"a": "server"}), ("cpu", True, {}), ("cuda", False, {})],
)
def test_jobs_are_forked_on_the_cpu_unless_asked_not_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, cold: bool, variables: dict
) -> None:
    text = (PRESETS / "embedded.yaml").read_text()
    (tmp_path / "params.yaml").write_text(with_settings(text, [f"compute.device={device}"]))
    (tmp_path / "Snakefile").touch()
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr("rankwise.commands.run.fork_server", lambda _: nullcontext({"a": "server"}))
    monkeypatch.setattr(
        engines, "find_due", lambda: ([DueJob("report", (), "not made yet")], False)
    )
    monkeypatch.setattr(engines, "run_snakemake", lambda *arguments: given.append(arguments))
    monkeypatch.setattr("rankwise.commands.show.print_table", lambda: None)
    for name in ("_record", "remember"):
        monkeypatch.setattr(f"rankwise.commands.run.{name}", lambda *_: None)
    for name in ("refresh", "refresh_inputs"):
        monkeypatch.setattr(sync, name, lambda: None)
    run(cold=cold, anyway=True)  # no GPU is here to plan for
    [(engine, *options)] = given
    assert options == [None, False]
    assert engine.variables == variables


@pytest.mark.parametrize("stage", ["prepare_model", "evaluate", "report"])
def test_no_job_depends_on_how_it_is_started(stage: str) -> None:
    modules = closure(f"rankwise.stages.{stage}")
    assert "rankwise.stages.options" in modules
    assert not [name for name in modules if "forkserver" in name or "cli" in name]


def test_a_killed_fork_server_fails_the_run_and_the_next_one_goes_on(
    both: tuple[Study, Study], tmp_path: Path
) -> None:
    study = both[0].copy(tmp_path / "study")
    study.change("report.title=other")
    run = study.start("python", "-m", "rankwise", "run", "--anyway")  # the first job is a stage's
    for server in wait_for_children(run.pid, "rankwise.forkserver.server"):
        wait_for_children(server, "rankwise.forkserver.server")  # the job
        os.kill(server, signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "report failed; its log is logs/report.log" in said
    assert "The fork server ended early, with exit code -9." in said
    assert "fork server" not in study.do("python", "-m", "rankwise", "run")
    assert study.snakemake_would_run() == study.dvc_would_run() == set()


def test_a_run_that_fails_is_a_gap_beside_the_others(
    both: tuple[Study, Study], tmp_path: Path
) -> None:
    study = both[0].copy(tmp_path / "study")
    study.change("runs.broken={decompose: svd, allocate: uniform, keep: 0.05}")
    done = study.call("python", "-m", "rankwise", "run")
    assert done.returncode == 2
    assert "the floor" in done.stderr
    shown = json.loads(study.call("python", "-m", "rankwise", "show", "--json").stdout)
    assert [row["run"] for row in shown["rows"]] == [
        "dense", "plain", "searched", "ours", "trained"
    ]  # fmt: skip
    assert "its stage evaluate did not end" in shown["gaps"]["broken"]
    assert shown["gaps"]["broken"] in done.stdout
    study.change("runs.broken.keep=0.6")
    study.do("python", "-m", "rankwise", "run")
    shown = json.loads(study.call("python", "-m", "rankwise", "show", "--json").stdout)
    assert (len(shown["rows"]), shown["gaps"]) == (6, {})


def wait_for_children(parent: int, word: str) -> list[int]:
    """Return the child processes with a word in their command, as soon as there is one."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                above = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
                command = process.joinpath("cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(above) == parent and word in command:
                found.append(int(process.name))
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"no child of {parent} is {word}")


def test_the_engines_own_tools_show_the_numbers_of_the_files(both: tuple[Study, Study]) -> None:
    study = both[1]
    summary = json.loads((study.folder / "data/report/summary.json").read_text())
    shown = json.loads(study.call("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert len(shown) == len(summary["rows"])
    for row in summary["rows"]:
        scores = shown[f"data/scores/{row['run']}.json"]["data"]
        assert (scores["perplexity"], scores["keep_reached"]) == (
            row["perplexity"],
            row["keep_reached"],
        )
    plots = json.loads(study.call("dvc", "plots", "show", "--json").stdout)["data"]
    [plot] = plots["perplexity by keep"]
    points = plot["content"]["data"]["values"]
    assert [(p["run"], p["perplexity"]) for p in points] == [
        (row["run"], row["perplexity"]) for row in summary["rows"]
    ]
    study.do("snakemake", "--report", "snakemake.html")
    page = (study.folder / "snakemake.html").read_text()
    assert "data/report/index.html" in page
    (study.folder / "snakemake.html").unlink()
