"""Hostile input for every parser: valid documents with random changes, seeded; only clean refusals pass.

A parser may accept an input or refuse it with its own error. Anything else, more than some seconds, or
more than some memory is a finding.
"""

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from rankwise.errors import RankwiseError, is_out_of_memory
from rankwise.hub.checks import CheckpointError
from tools.faults.parsers import PARSERS
from tools.faults.tally import Tally

SECONDS = 10
"""Until one input counts as unbounded."""
MEGABYTES = 400
"""That all inputs of a parser together may add to the peak of the process."""


class Unbounded(BaseException):
    """An input took too long."""


@contextmanager
def bounded() -> Iterator[None]:
    """Interrupt what takes longer than an input may."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Unbounded

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, seed: int, count: int) -> Tally:
    """Hand a parser ``count`` inputs; each is accepted or cleanly refused."""
    random, parser = Random(f"{name} {seed}"), PARSERS[name]
    tally = Tally(f"input: {name}", seed)
    with tempfile.TemporaryDirectory(dir=_quick_disk()) as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            place = Path(folder) / str(number % 2)
            place.mkdir(exist_ok=True)
            parser.make(random, place)
            tally.tried += 1
            try:
                with bounded():
                    parser.read(place)
            except (RankwiseError, CheckpointError) as error:
                if len(str(error)) > 20_000:
                    tally.missed(f"{name}: a refusal of {len(str(error))} characters")
            except Unbounded:
                tally.missed(f"{name}: took more than {SECONDS} s: {_shown(place)}")
            except Exception as error:
                # The command line says in a sentence that there is not so much memory.
                if not is_out_of_memory(error):
                    tally.missed(f"{name}: {type(error).__name__}: {error}: {_shown(place)}")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        if grown > MEGABYTES:
            tally.missed(f"{name}: memory grew by {grown} MB")
    return tally


def _quick_disk() -> str | None:
    """Return the folder of the memory disk, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _shown(place: Path) -> str:
    files = [path for path in place.iterdir() if path.is_file()]
    return "; ".join(f"{path.name}: {path.read_bytes()[:300]!r}" for path in files)
