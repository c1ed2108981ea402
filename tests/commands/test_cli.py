"""The command line itself: it starts fast, and an error becomes an exit code and a sentence."""

import errno
import logging
import subprocess
import sys

import pytest

from rankwise import cli


def test_the_command_line_imports_no_heavy_library():
    code = "import sys, rankwise.cli; print([m for m in ('torch', 'transformers', 'mlflow') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


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
