"""Jobs of a run that get no more memory: killed in the place of a kernel that has none left."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from rankwise.memory import SETTINGS
from tests.faults.disturbed import below
from tests.faults.stages import PATIENCE, RUN
from tests.faults.tally import Tally
from tests.workflow.studies import Study

KILLED = "was killed (signal 9), as a system does that has no memory left: lower "


def killed_in_place(study: Study, copy: Study, engine: str, name: str, tally: Tally) -> None:
    """Kill a job of a run as a system without memory does: the run says so and names what to lower."""
    run = copy.start(*RUN, "--cold", "--engine", engine)
    end = time.monotonic() + PATIENCE
    stage = name.split("-", maxsplit=1)[0]
    while run.poll() is None and time.monotonic() < end:
        found = _job(run.pid, stage)
        if found is not None:
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
        time.sleep(0.02)
    said = "".join(run.communicate(timeout=PATIENCE))
    _told_and_mended(study, copy, run.returncode, said, f"{engine}, {name}", SETTINGS[stage], tally)


def _told_and_mended(
    study: Study, copy: Study, code: int, said: str, where: str, setting: str, tally: Tally
) -> None:
    tally.tried += 1
    if code != 137 or f"{KILLED}{setting}" not in said:
        tally.missed(f"{where}: exit code {code}: {said[-700:]}")
    done = copy.call(*RUN)
    if done.returncode:
        tally.missed(f"{where}: restart: {done.returncode} {done.stderr[-500:]}")
    elif copy.hashes() != study.hashes():
        tally.missed(f"{where}: restart: other bytes", wrong=True)


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
