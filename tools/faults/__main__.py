"""The full count: ``make faults``, or ``python -m tools.faults [CLASS …] [--seed N] [--times F]``.

Writes the rows of the classes that ran into docs/dev/reliability.md, or into ``--page`` where it runs in a
copy of the checkout that nobody edits; ends with 1 where one was not survived.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from tests.workflow.studies import ROOT, Study
from tools.faults import disturbed, disturbed_stages
from tools.faults import memory as starved
from tools.faults.fuzz import PARSERS, fuzz
from tools.faults.kinds import flipped_everywhere
from tools.faults.stages import EVERY, finished_study, in_turn, stages_of
from tools.faults.tally import Tally, put_table

PAGE = ROOT / "docs/dev/reliability.md"
SHOWN = 10
"""Problems of a class that are printed."""
KILLS = 4
"""Of a run, before it is let to its end."""
INPUTS = 100_000
"""Inputs of every parser at full count."""


class Base:
    """The undisturbed studies that disturbed ones are compared with, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Study] = {}

    def study(self) -> Study:
        """Return the finished small study, of which whole runs are tried."""
        return self._finished("small", finished_study)

    def every(self) -> Study:
        """Return the finished study that has every stage."""
        return self._finished("every", partial(finished_study, settings=EVERY))

    def long(self) -> Study:
        """Return the finished study with much calibration text."""
        return self._finished("long", starved.long_study)

    def _finished(self, name: str, make: Callable[[Path], Study]) -> Study:
        if name not in self._made:
            self._made[name] = make(self.folder / name)
        return self._made[name]


Class = Callable[[Base, int, float], Iterator[Tally]]


def bits(_: Base, seed: int, times: float) -> Iterator[Tally]:
    """Every kind of artifact, one bit flipped anywhere, or cut anywhere."""
    yield flipped_everywhere(seed, times)


def stages(base: Base, seed: int, times: float) -> Iterator[Tally]:
    """Single stages: killed, and reading what is damaged."""
    copy = base.every().copy(base.folder / "stages")
    random, there = Random(seed), stages_of(copy)
    killed = Tally("a stage killed (SIGKILL or SIGTERM) at a random moment", seed)
    with disturbed_stages.warm(copy) as variables:
        for stage in in_turn(there, round(200 * times), random):
            disturbed_stages.kill_stage(stage, variables, random, killed)
        yield killed
        for kind in ("vanished", "cut short", "one bit flipped"):
            found = Tally(f"an artifact {kind}, read by the next stage", seed)
            for stage, reader in disturbed_stages.chains(there, round(40 * times), random):
                disturbed_stages.damage_found(stage, reader, variables, random, kind, found)
            yield found


def disks(base: Base, seed: int, times: float) -> Iterator[Tally]:
    """Disks that refuse."""
    copy = base.every().copy(base.folder / "limited")
    random, there = Random(seed), stages_of(copy)
    limited = Tally("disk full: no file may grow beyond a random size, per stage", seed)
    for stage in in_turn(there, round(len(there) * times), random):
        disturbed_stages.fill_disk(stage, random, limited)
    yield limited
    count = round(len(there) * times)
    yield from disturbed_stages.on_a_disk(copy, base.folder / "disk", random, count, seed)


def runs(base: Base, seed: int, times: float) -> Iterator[Tally]:
    """Whole runs, killed at random moments one after the other, in both engines."""
    random = Random(seed)
    killed = Tally("`rankwise run` killed (SIGKILL, SIGTERM, SIGINT) at a random moment", seed)
    for number in range(round(10 * times)):
        copy = disturbed.fresh(base.study(), base.folder / f"killed {number}")
        engine = disturbed.ENGINES[number % 2]
        kills = [disturbed.Kill.any(random, 15.0) for _ in range(KILLS)]
        disturbed.kill_run(base.study(), copy, engine, kills, killed)
    yield killed


def repairs(base: Base, seed: int, times: float) -> Iterator[Tally]:
    """What the sentence says, done: exactly the damaged stage runs."""
    random = Random(seed)
    repaired = Tally(
        "a damaged artifact of a finished study, restored with the command in the error", seed
    )
    for number in range(round(6 * times)):
        copy = base.study().copy(base.folder / f"repaired {number}")
        disturbed_stages.repair(copy, random, repaired)
    yield repaired


def memory(base: Base, seed: int, _: float) -> Iterator[Tally]:
    """Jobs killed for memory, in both engines."""
    killed = Tally("a job of a run killed as by the out-of-memory killer", seed)
    for engine in disturbed.ENGINES:
        for name in ("covariance-dense", "evaluate@plain"):
            copy = disturbed.fresh(base.study(), base.folder / f"memory {engine} {name}")
            starved.killed_in_place(base.study(), copy, engine, name, killed)
    yield killed
    limited = Tally(
        "a run where memory is limited, its job killed by the kernel, the setting lowered", seed
    )
    for number, options in enumerate(([], ["--cold"], ["--engine", "dvc"])):
        copy = base.long().copy(base.folder / f"limited {number}")
        starved.killed_by_the_kernel(base.long(), copy, options, limited)
    yield limited


def two(base: Base, seed: int, _: float) -> Iterator[Tally]:
    """Two at once."""
    both = Tally("two at once: two runs, Snakemake then DVC, DVC then Snakemake", seed)
    disturbed.two_runs(base.study(), disturbed.fresh(base.study(), base.folder / "twice"), both)
    for first in ("snakemake", "dvc"):
        copy = disturbed.fresh(base.study(), base.folder / f"{first} first")
        disturbed.two_engines(base.study(), copy, first, both)
    yield both


def places(base: Base, seed: int, _: float) -> Iterator[Tally]:
    """Odd places and clocks."""
    odd = Tally(
        "path with spaces, quotes, newline, `$`, non-ASCII, behind a link; other time zone", seed
    )
    for engine in disturbed.ENGINES:
        disturbed.run_in_odd_place(base.study(), base.folder / f"odd {engine}", engine, odd)
    yield odd
    clock = Tally("clock set back by a day, then a parameter changed and changed back", seed)
    disturbed.clock_set_back(base.study(), base.study().copy(base.folder / "clock"), clock)
    yield clock


def hostile(name: str) -> Class:
    """Return the class of hostile inputs for one parser."""

    def inputs(_: Base, seed: int, times: float) -> Iterator[Tally]:
        yield fuzz(name, seed, round(INPUTS * times))

    return inputs


CLASSES: dict[str, Class] = {
    **{f.__name__: f for f in (bits, stages, disks, repairs, two, places, memory, runs)},
    **{name: hostile(name) for name in PARSERS},
}


def main() -> int:
    """Run the classes that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", choices=[*CLASSES, []], help="all, if none is named")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="of the full count")
    parser.add_argument("--page", type=Path, default=PAGE, help="whose table gets the rows")
    asked = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        base = Base(Path(folder))
        for name in asked.classes or CLASSES:
            for tally in CLASSES[name](base, asked.seed, asked.times):
                print(tally.row(), end="", flush=True)
                for problem in tally.problems[:SHOWN]:
                    print(f"  {problem}", flush=True)
                put_table(asked.page, [tally])
                failed |= bool(tally.problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
