"""Every stage of a finished real study as a command, so that one can be disturbed by itself."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rankwise.files.checksummed import sha256
from rankwise.workflow.dvc_yaml import outputs_of
from tests.workflow.studies import FEWER, WRITERS, Study, make_study

SMALL = (*FEWER, "prepare.tasks.source=null")
"""A small study, finished in half a minute."""
EVERY = (
    "runs={plain: {decompose: svd, allocate: uniform, keep: 0.6},"
    " searched: {decompose: pooled_pca, allocate: hyperopt, keep: 0.6},"
    " ours: {decompose: kfac, allocate: uniform, keep: 0.6}, trained: {refine: blockwise, of: plain}}",
    "allocate.hyperopt.q=2",
    "allocate.hyperopt.trials=3",
    "compute.layers_per_job=2",
)
"""A study with every stage that there is."""
TIMED = ("speed", "report", "track")
"""Stages whose results hold times: that they are there is all that can be compared."""
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

    @property
    def timed(self) -> bool:
        """Whether its results are others every time."""
        return self.name.split("-")[0] in TIMED

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
        """Return file → digest of what it wrote, nothing for times; empty where nothing stands under its names."""
        files = [f for path in self.outputs for f in (path.rglob("*") if path.is_dir() else [path])]
        return {
            str(f.relative_to(self.study.folder)): "" if self.timed else sha256(f)
            for f in sorted(files)
            if f.is_file() and f.name[0] != "."
        }


def stages_of(study: Study) -> list[Stage]:
    """Return the stages of a finished study, but not the engines' own."""
    found = []
    for name, stage in study.stages().items():
        if name not in WRITERS:
            paths = tuple(study.folder / out for out in outputs_of(stage))
            found.append(Stage(study, name, stage["cmd"], paths))
    return found


def untimed(study: Study) -> list[Stage]:
    """Return those of them whose bytes are the same every time."""
    return [stage for stage in stages_of(study) if not stage.timed]


def finished_study(folder: Path, settings: Sequence[str] = SMALL) -> Study:
    """Make a study and run it to its end."""
    study = make_study(folder, quick=False, settings=settings)
    study.do(*RUN)
    return study


def killed_at(process: subprocess.Popen[str], after: float, kill: Callable[[], None]) -> bool:
    """Kill a process some seconds after its start; return whether it still ran."""
    time.sleep(after)
    running = process.poll() is None
    kill()
    process.communicate(timeout=PATIENCE)
    return running


def in_turn(stages: list[Stage], count: int, random: Random) -> list[Stage]:
    """Return ``count`` stages: every one as often as any other, in a random order."""
    found: list[Stage] = []
    while len(found) < count:
        found += random.sample(stages, len(stages))
    return found[:count]


def any_signal(random: Random) -> signal.Signals:
    """Return SIGKILL or SIGTERM."""
    return random.choice((signal.SIGKILL, signal.SIGTERM))
