"""Where memory runs out, a sentence names the setting; a full disk is one as well."""

import errno
import logging
import sys

import pytest
import torch
import typer

from rankwise import cli
from rankwise.errors import is_out_of_memory
from rankwise.files.atomic import write_json
from rankwise.params import memory
from rankwise.workflow import engines


def test_what_counts_as_no_memory() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("1 TB"), "no memory left (1 TB); lower evaluate.batch"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device; make room"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: Read-only file system; make room"),
    ],
)  # fmt: skip
def test_exit_code_and_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["rankwise", "--log", "x", "evaluate", "--run", "a"])
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert says in caplog.text


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        ("snakemake", "Command died with <Signals.SIGKILL: 9>."),
        ("snakemake", "Command returned non-zero exit status 137."),
        ("dvc", "ERROR: failed to reproduce 'covariance-dense': failed to run: x, exited with -9"),
        ("dvc", "ERROR: failed to reproduce 'covariance-dense': failed to run: x, exited with 137"),
    ],
)
def test_a_job_that_was_killed_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path,
    engine: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    before = {
        "snakemake": "    log: logs/covariance/dense.log (check log file)",
        "dvc": "> x --log logs/covariance/dense.log",
    }
    script = f"import sys; print({before[engine]!r}); print({line!r}); sys.exit(1)"
    monkeypatch.setattr(engines, engine.upper(), (sys.executable, "-c", script))
    with pytest.raises(typer.Exit) as end:
        if engine == "dvc":
            engines.run_dvc(engines.Engine(), force=False)
        else:
            engines.run_snakemake(engines.Engine(), None, force=False)
    assert end.value.exit_code == 137
    assert "covariance/dense was killed (signal 9)" in capsys.readouterr().err


def test_every_stage_that_may_need_much_has_a_setting() -> None:
    assert memory.advise_less_memory(["covariance", "dense"]).startswith("lower covariance.batch")
    assert "--cores" in memory.advise_less_memory(["sample", "test"])


def test_nothing_is_left_of_a_write_that_failed_or_of_a_process_that_died(tmp_path) -> None:
    path = tmp_path / "a.json"
    (tmp_path / ".a.json.4194304.tmp").mkdir()  # no process has such a number
    (tmp_path / ".a.json.4194305.tmp").touch()
    (tmp_path / ".b.json.4194305.tmp").touch()
    write_json(path, {})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", ".b.json.4194305.tmp"}
