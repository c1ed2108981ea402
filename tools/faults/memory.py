"""Jobs of a run that get no more memory: the kernel kills them, or the test does it in the kernel's place."""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rankwise.params import memory
from tests.workflow.studies import WORDS, Study, make_study
from tools.faults.disturbed import below
from tools.faults.stages import PATIENCE, RUN, SMALL
from tools.faults.tally import Tally

SEQUENCES, LENGTH = 16384, 64
"""Calibration text whose activations, all at once, take gigabytes even in a tiny model."""
FITS = "covariance.batch=64"
GREEDY = f"covariance.batch={SEQUENCES}"
LONG = (
    *SMALL,
    f"sample.calibration.sequences={SEQUENCES}",
    f"sample.calibration.length={LENGTH}",
    "covariance.pools=1",
    FITS,
)
"""A small study with that text."""
GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where groups of processes with a limit are made: version 1, version 2."""
LIMITS = ("memory.limit_in_bytes", "memory.max")
ROOM = 1500 * 2**20
"""Enough for the run as long as its batches are small [bytes]."""
KILLED = "was killed (signal 9), as a system does that has no memory left: lower "


def killed_in_place(study: Study, copy: Study, engine: str, name: str, tally: Tally) -> None:
    """Kill a job of a run as a system without memory does: the run says so and names what to lower."""
    run = copy.start(*RUN, "--cold", "--engine", engine)
    end = time.monotonic() + PATIENCE
    stage = re.split("[@-]", name, maxsplit=1)[0]
    while run.poll() is None and time.monotonic() < end:
        found = _job(run.pid, stage)
        if found is not None:
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
        time.sleep(0.02)
    said = "".join(run.communicate(timeout=PATIENCE))
    ended = Ended(run.returncode, said, f"{engine}, {name}")
    if ended.told(memory.SETTINGS[stage], tally):
        ended.goes_on(study, copy, RUN, tally)


def long_study(folder: Path) -> Study:
    """Make a study with much calibration text and run it to its end."""
    study = make_study(folder, quick=False, settings=LONG)
    words = SEQUENCES * LENGTH * 9 // 8  # some are left for the search
    text = [WORDS[(number * 5 + number // 63) % 63] for number in range(words)]
    lines = [" ".join(text[start : start + 30]) for start in range(0, words, 30)]
    (study.folder / "inputs/train.txt").write_text("\n\n".join(lines) + "\n")
    study.do(*RUN)
    return study


def killed_by_the_kernel(study: Study, copy: Study, options: list[str], tally: Tally) -> None:
    """Have a finished study use a batch that does not fit where memory is limited; lower it, as the sentence says."""
    copy.change(GREEDY)
    with _group() as group:
        if group is None:
            tally.skipped = "no right to limit the memory of a group of processes"
            return
        inside = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group / "cgroup.procs"), *RUN]
        run = copy.call(*inside, *options)
        ended = Ended(run.returncode, run.stdout + run.stderr, " ".join(["limited", *options]))
        if ended.told(memory.SETTINGS["covariance"], tally):
            copy.change(FITS)
            ended.goes_on(study, copy, inside, tally)


@contextmanager
def _group() -> Iterator[Path | None]:
    """Yield a new group of processes with little memory, None where none can be made."""
    for root, limit in zip(GROUPS, LIMITS, strict=True):
        group = root / f"rankwise-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(ROOM))
        except OSError:  # no such version, or no right
            if group.is_dir():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


@dataclass(frozen=True)
class Ended:
    """How a run ended whose job was killed."""

    code: int
    said: str
    where: str

    def told(self, setting: str, tally: Tally) -> bool:
        """Count it; return whether it said so and named what to lower."""
        tally.tried += 1
        if self.code == memory.KILLED and f"{KILLED}{setting}" in self.said:
            return True
        tally.missed(f"{self.where}: exit code {self.code}: {self.said[-700:]}")
        return False

    def goes_on(self, study: Study, copy: Study, run: Sequence[str], tally: Tally) -> None:
        """Start it again."""
        done = copy.call(*run)
        if done.returncode:
            tally.missed(f"{self.where}: restart: {done.returncode} {done.stderr[-500:]}")
        elif copy.hashes() != study.hashes():
            tally.missed(f"{self.where}: restart: other bytes", wrong=True)


def _job(above: int, stage: str) -> int | None:
    """Return the Python process of a stage below a process."""
    for pid in below(above):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(("python", "python3")) and stage in words[1:7]:
            return pid
    return None
