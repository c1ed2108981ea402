"""What came of many faults of one class, and the table of all classes."""

import fcntl
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HEAD = "| fault or input class | tried | survived | lost | wrong numbers | seed | commit |\n|---|---:|---:|---:|---:|---:|---|\n"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
ROOT = Path(__file__).parents[2]


@cache
def commit() -> str:
    """Return the commit that is tried, with a ``+`` where files that git knows are others than its."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=False)
    others = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":!docs"], check=False)
    return f"{found.stdout.decode().strip()}{'+' * bool(others.returncode)}"


@dataclass
class Tally:
    """Counts of one class; ``problems`` says each that was not survived."""

    what: str
    seed: int
    tried: int = 0
    lost: int = 0
    """Work that a restart did not bring back, or that was done twice."""
    wrong: int = 0
    """Results other than an undisturbed run's."""
    problems: list[str] = field(default_factory=list)
    skipped: str = ""
    """Why this class could not be tried here."""
    commit: str = field(default_factory=commit)
    """State of the code when the first of it was tried."""

    def missed(self, problem: str, *, wrong: bool = False) -> None:
        """Count one that was not survived."""
        self.wrong += wrong
        self.lost += not wrong
        self.problems.append(problem[:2000])

    @property
    def survived(self) -> int:
        return self.tried - self.lost - self.wrong

    def row(self) -> str:
        """Return the line of the table."""
        if self.skipped:
            return f"| {self.what} | 0 | | | | not tried: {self.skipped} | {self.commit} |\n"
        numbers = (self.tried, self.survived, self.lost, self.wrong, self.seed)
        return f"| {self.what} | {' | '.join(f'{n:,}' for n in numbers)} | {self.commit} |\n"


def put_table(page: Path, tallies: list[Tally]) -> None:
    """Replace the rows of these classes in a page's table, one process at a time; the other rows stay."""
    with page.open("r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        before, _, rest = stream.read().partition(BEGIN)
        table, _, after = rest.partition(END)
        rows = {line.split("|")[1].strip(): f"{line}\n" for line in table.splitlines()[2:]}
        rows |= {tally.what: tally.row() for tally in tallies}
        stream.seek(0)
        stream.write(f"{before}{BEGIN}{HEAD}{''.join(rows.values())}{END}{after}")
        stream.truncate()
