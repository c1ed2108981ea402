"""What it takes to learn that nothing is to be done, and to print the help: fresh processes, after `make run`.

python bench/noop.py           writes a block of docs/dev/performance.md
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from document import ROOT, fill

COMMANDS = {
    "rankwise --help": "Usage",
    "dvc repro": "up to date",
    "snakemake --cores 2": "Nothing to be done",
    "rankwise run": "Nothing to be done",
}
"""Command → what it says where there is nothing to do."""
REPEATS = 3


def taken(command: str) -> tuple[float, float]:
    """Return wall and CPU seconds of a process and its children."""
    words = command.split()
    folder = Path(sys.executable).parent
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [str(folder / words[0]), *words[1:]],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - began
    if COMMANDS[command] not in done.stdout + done.stderr:
        raise SystemExit(f"{command} ran something: run `make run` first\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main() -> None:
    lines = ["| with nothing to do | wall s | CPU s |", "|---|---:|---:|"]
    for command in COMMANDS:
        found = [taken(command) for _ in range(REPEATS)]
        wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
        lines.append(f"| `{command}` | {wall:.1f} | {cpu:.1f} |")
    fill(ROOT / "docs/dev/performance.md", "noop", "\n".join(lines))


if __name__ == "__main__":
    main()
