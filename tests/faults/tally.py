"""What came of many faults of one class, and the table of all classes."""

from dataclasses import dataclass, field
from pathlib import Path

HEAD = "| fault or input class | tried | survived | lost | wrong numbers | seed |\n|---|---:|---:|---:|---:|---:|\n"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"


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
            return f"| {self.what} | 0 | | | | not tried: {self.skipped} |\n"
        numbers = (self.tried, self.survived, self.lost, self.wrong, self.seed)
        return f"| {self.what} | {' | '.join(f'{n:,}' for n in numbers)} |\n"


def put_table(page: Path, tallies: list[Tally]) -> None:
    """Replace the rows of these classes in a page's table; the other rows stay."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): f"{line}\n" for line in table.splitlines()[2:]}
    rows |= {tally.what: tally.row() for tally in tallies}
    page.write_text(f"{before}{BEGIN}{HEAD}{''.join(rows.values())}{END}{after}", encoding="utf-8")
