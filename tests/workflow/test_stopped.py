"""A person who stops a run gets exit code 130 and a study that goes on, in both engines."""

import signal
import time
from pathlib import Path

import pytest

from tests.workflow.studies import Study

PATIENCE = 60
"""Until a run counts as hanging [s]."""
WAITING = """\
    if {"evaluate", "plain"} <= {*sys.argv} and Path("wait").exists():
        Path("waiting").touch()
        signal.pause()
"""
"""What a job does at its start, where the test asks for it."""
RUNS = ("dense", "plain", "searched")
GO_ON = {"snakemake": ("snakemake", "--quiet"), "dvc": ("dvc", "repro", "--quiet")}


@pytest.mark.parametrize("engine", GO_ON)
def test_a_stopped_run_goes_on(small: Study, engine: str) -> None:
    main, start = small.folder / "package/rankwise/__main__.py", 'if __name__ == "__main__":\n'
    text = main.read_text().replace("import sys\n", "import signal\nimport sys\n", 1)
    main.write_text(text.replace(start, start + WAITING))
    before = small.hashes()
    small.change("evaluate.batch=4")
    (small.folder / "wait").touch()
    run = small.start("python", "-m", "rankwise", "run", "--cold", "--engine", engine)
    until(small.folder / "waiting")
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130, said
    assert "Stopped; what is finished stays. Go on with: rankwise run" in said
    assert "Traceback" not in said
    (small.folder / "wait").unlink()
    small.do(*GO_ON[engine])
    after = small.hashes()
    changed = {name for name in after if after[name] != before.get(name)}
    scores = {f"{kind}/{run}.json" for kind in ("scores", "items") for run in RUNS}
    assert changed == scores | {"report/summary.json"}


def until(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)
