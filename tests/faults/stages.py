"""Every stage of a finished real study as a command, so that one can be disturbed by itself."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rankwise.files import sha256
from tests.workflow.studies import FEWER, Study, make_study

SMALL = (*FEWER, "prepare.tasks.source=null")
"""A study of every kind of stage but refine and curvature, finished in half a minute."""
NO_TIMES = ("speed", "report", "track", "params")
"""Stages whose results hold times, or that are the engines' own."""
RUN = ("python", "-m", "rankwise", "run")
PATIENCE = 300
"""Until a command counts as hanging [s]."""


@dataclass(frozen=True)
class Stage:
    """One stage of a study: its command and what it writes."""

    study: Study
    name: str
    command: str
    outputs: tuple[Path, ...]

    def start(self, variables: Mapping[str, str], **settings: Any) -> subprocess.Popen[str]:
        """Start it; its bytes are known, so outputs are removed before."""
        for path in self.outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        words = [sys.executable, *shlex.split(self.command)[1:]]
        environment = {**os.environ, **variables, "PYTHONPATH": str(self.study.folder / "package")}
        pipe = subprocess.PIPE
        options: dict[str, Any] = {"text": True, "stdout": pipe, "stderr": subprocess.STDOUT}
        return subprocess.Popen(
            words, cwd=self.study.folder, env=environment, **options, **settings
        )

    def run(self, variables: Mapping[str, str], **settings: Any) -> tuple[int, str]:
        """Run it to its end; return exit code and all that it says."""
        process = self.start(variables, **settings)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def hashes(self) -> dict[str, str]:
        """Return file → digest of what it wrote; empty where nothing stands under its names."""
        files = [f for path in self.outputs for f in (path.rglob("*") if path.is_dir() else [path])]
        return {
            str(f.relative_to(self.study.folder)): sha256(f)
            for f in sorted(files)
            if f.is_file() and f.name[0] != "."
        }


def stages_of(study: Study) -> list[Stage]:
    """Return the stages of a finished study whose results hold no times."""
    found = []
    for name, stage in study.stages().items():
        if name.split("-")[0] not in NO_TIMES:
            outs = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
            paths = tuple(study.folder / out for out in outs)
            found.append(Stage(study, name, stage["cmd"], paths))
    return found


def finished_study(folder: Path) -> Study:
    """Make a study and run it to its end."""
    study = make_study(folder, quick=False, settings=SMALL)
    study.do(*RUN)
    return study


def killed_at(process: subprocess.Popen[str], after: float, kill: Callable[[], None]) -> bool:
    """Kill a process some seconds after its start; return whether it still ran."""
    time.sleep(after)
    running = process.poll() is None
    kill()
    process.communicate(timeout=PATIENCE)
    return running


def any_signal(random: Random) -> signal.Signals:
    """Return SIGKILL or SIGTERM."""
    return random.choice((signal.SIGKILL, signal.SIGTERM))
