"""Single stages that are killed, run out of disk, may not write, or find a damaged artifact."""

import os
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from random import Random

from rankwise.forkserver.launch import fork_server
from rankwise.workflow import engines
from tests.workflow.studies import Study
from tools.faults.stages import (
    RUN,
    Stage,
    any_signal,
    in_turn,
    killed_at,
    stages_of,
    untimed,
)
from tools.faults.tally import Tally

SMALLEST = 256
"""Least that may be written of a file before the disk counts as full [bytes]."""


@contextmanager
def warm(study: Study) -> Iterator[dict[str, str]]:
    """Yield the environment in which a study's stages are forked rather than started."""
    given = engines.environment() | {"PYTHONPATH": str(study.folder / "package")}
    given.pop("PYTEST_CURRENT_TEST", None)
    with chdir(study.folder), fork_server(given) as variables:
        yield given | variables


def kill_stage(stage: Stage, variables: dict[str, str], random: Random, tally: Tally) -> None:
    """Kill a stage at a random moment, look at what stands there, run it again."""
    tally.tried += 1
    expected = stage.hashes()
    began = time.monotonic()
    process, signal_ = stage.start(variables), any_signal(random)
    # Most of these stages take from half a second to two: any moment, and sometimes just after the end.
    after = random.uniform(0.0, 1.5)
    killed_at(process, after, lambda: process.send_signal(signal_))
    where = f"{stage.name}, {signal_.name} after {after:.2f} of {time.monotonic() - began:.2f} s"
    found = stage.hashes()
    if any(found[name] != expected.get(name) for name in found):
        tally.missed(f"{where}: half-written or other bytes under a final name", wrong=True)
    code, said = stage.run(variables)
    if code or stage.hashes() != expected:
        tally.missed(f"{where}: restart: {code} {said[-500:]}", wrong=not code)
    left = [str(p) for p in stage.study.folder.glob("data/*/.*.tmp")]
    if left:
        tally.missed(f"{where}: left behind: {', '.join(left)}")


def fill_disk(stage: Stage, random: Random, tally: Tally) -> None:
    """Let no file grow beyond some bytes, as a full disk or a quota does, then run again."""
    tally.tried += 1
    expected = stage.hashes()
    sizes = [(stage.study.folder / name).stat().st_size for name in expected]
    limit = random.randint(min(SMALLEST, *sizes), max(sizes))

    def forbid() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    code, said = stage.run({}, preexec_fn=forbid)
    _refused_cleanly(stage, code, said, expected, f"{stage.name}, {limit} bytes", tally)
    code, said = stage.run({})
    if code or stage.hashes() != expected:
        tally.missed(f"{stage.name}, {limit} bytes: with room again: {code} {said[-500:]}")


def _refused_cleanly(
    stage: Stage, code: int, said: str, expected: dict[str, str], where: str, tally: Tally
) -> None:
    """Count a stage that the disk disturbed: done right, or refused in a sentence with nothing half done."""
    found = stage.hashes()
    if code not in (0, 2) or "Traceback" in said:
        tally.missed(f"{where}: exit code {code}: {said[-900:]}")
    elif any(found[name] != expected.get(name) for name in found):
        tally.missed(f"{where}: half-written under a final name", wrong=True)
    elif not code and found != expected:
        tally.missed(f"{where}: done, but other bytes", wrong=True)


def on_a_disk(study: Study, folder: Path, random: Random, count: int, seed: int) -> list[Tally]:
    """Run stages of a copy of the study on a disk that is full, then on one that is read-only."""
    full = Tally("disk full: a small tmpfs, per stage", seed)
    closed = Tally("read-only file system, per stage", seed)
    folder.mkdir()
    size = sum(f.stat().st_size for f in study.folder.rglob("*") if f.is_file())
    disk = ["mount", "-t", "tmpfs", "-o", f"size={2 * size}", "tmpfs", str(folder)]
    mounted = subprocess.run(disk, capture_output=True, text=True, check=False)
    if mounted.returncode:
        full.skipped = closed.skipped = f"no right to mount ({mounted.stderr.strip()})"
        return [full, closed]
    try:
        copy = study.copy(folder / "study")
        chosen = in_turn(stages_of(copy), count, random)
        with warm(copy) as variables:
            for stage in chosen:
                _on_a_full_disk(stage, folder, variables, random.choice([0, 4096]), full)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            for stage in chosen:
                _on_a_closed_disk(stage, variables, closed)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    return [full, closed]


def _on_a_full_disk(
    stage: Stage, disk: Path, variables: dict[str, str], room: int, tally: Tally
) -> None:
    tally.tried += 1
    expected = stage.hashes()
    _fill(disk, stage, room)
    code, said = stage.run(variables)
    (disk / "filler").unlink()
    _refused_cleanly(stage, code, said, expected, f"{stage.name}, full disk", tally)
    code, said = stage.run(variables)
    if code or stage.hashes() != expected:
        tally.missed(f"{stage.name}: with room again: exit code {code}: {said[-500:]}")


def _on_a_closed_disk(stage: Stage, variables: dict[str, str], tally: Tally) -> None:
    tally.tried += 1
    expected = stage.hashes()
    code, said = _run_in_place(stage, variables)
    if code != 2 or "Traceback" in said or "Read-only file system" not in said:
        tally.missed(f"{stage.name}, read-only: exit code {code}: {said[-900:]}")
    if stage.hashes() != expected:
        tally.missed(f"{stage.name}, read-only: other bytes", wrong=True)


def _run_in_place(stage: Stage, variables: dict[str, str]) -> tuple[int, str]:
    """Run a stage without removing what it has written before."""
    kept = Stage(stage.study, stage.name, stage.command, ())
    return kept.run(variables)


def _fill(folder: Path, stage: Stage, room: int) -> None:
    """Take all room of a disk but a little, the stage's own outputs being gone."""
    for path in stage.outputs:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with (folder / "filler").open("wb") as stream:
        stream.write(b"\0" * max(0, shutil.disk_usage(folder).free - room))


def damage(stage: Stage, file: str, kind: str, random: Random) -> None:
    """Flip a bit of a file, cut it short, or remove it."""
    path = stage.study.folder / file
    if kind == "vanished":
        path.unlink()
        return
    whole, stat = bytearray(path.read_bytes()), path.stat()
    if kind == "cut short":
        del whole[random.randrange(len(whole)) :]
    else:
        whole[random.randrange(len(whole))] ^= 1 << random.randrange(8)
    path.write_bytes(whole)
    # A disk that loses a bit does not say when: the file looks as old as it was.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def damage_found(
    stage: Stage, reader: Stage, variables: dict[str, str], random: Random, kind: str, tally: Tally
) -> None:
    """Damage one file that a stage wrote; who reads it refuses, or its result is the same."""
    file = random.choice(sorted(stage.hashes()))
    tally.tried += 1
    path = stage.study.folder / file
    kept, expected = path.read_bytes(), reader.hashes()
    damage(stage, file, kind, random)
    code, said = reader.run(variables)
    where = f"{file} {kind}, read by {reader.name}"
    if code == 0 and reader.hashes() != expected:
        tally.missed(f"{where}: used silently, and the result is another", wrong=True)
    elif code not in (0, 2) or "Traceback" in said:
        tally.missed(f"{where}: exit code {code}: {said[-900:]}")
    elif code == 2 and not (Path(file).parts[1] in said and "rankwise run" in said):
        tally.missed(f"{where}: the sentence names no file, or no repair: {said[-500:]}")
    path.write_bytes(kept)
    code, said = reader.run(variables)
    if code or reader.hashes() != expected:
        tally.missed(f"{where}: {reader.name} after repair: {code} {said[-300:]}")


def chains(stages: list[Stage], count: int, random: Random) -> list[tuple[Stage, Stage]]:
    """Return pairs of a stage and one that reads what it wrote: every stage that is read in turn."""
    told = [stage for stage in stages if not stage.timed]
    read = {stage.name: readers(stage, told) for stage in told}
    found = in_turn([stage for stage in told if read[stage.name]], count, random)
    return [(stage, random.choice(read[stage.name])) for stage in found]


def readers(stage: Stage, stages: list[Stage]) -> list[Stage]:
    """Return the stages that read what a stage wrote, by their commands."""
    names = {str(path.relative_to(stage.study.folder)) for path in stage.outputs}
    return [s for s in stages if s is not stage and names & set(shlex.split(s.command))]


def repair(study: Study, random: Random, tally: Tally) -> None:
    """Damage a file of a finished study, do what the sentence says: one stage runs, bytes are the same."""
    stages = untimed(study)
    stage = random.choice([s for s in stages if readers(s, stages)])
    file = random.choice(sorted(stage.hashes()))
    kind = random.choice(("vanished", "cut short", "one bit flipped"))
    tally.tried += 1
    before = study.hashes()
    times = {s.name: _times(s) for s in stages}
    damage(stage, file, kind, random)
    output = next(p for p in stage.outputs if (study.folder / file).is_relative_to(p))
    study.do("rm", "-rf", str(output.relative_to(study.folder)))  # as the sentence says
    done = study.call(*RUN)
    where = f"{file} {kind}"
    ran = {s.name for s in stages if _times(s) != times[s.name]} - {stage.name}
    again = {line for line in done.stderr.splitlines() if line.startswith("[")}
    if done.returncode or study.hashes() != before:
        tally.missed(f"{where}: {done.returncode} {done.stderr[-700:]}")
    elif len(again) != 1:
        tally.missed(f"{where}: not exactly one job ran: {sorted(again)}, {sorted(ran)}")


def _times(stage: Stage) -> dict[str, int]:
    return {name: (stage.study.folder / name).stat().st_mtime_ns for name in stage.hashes()}
