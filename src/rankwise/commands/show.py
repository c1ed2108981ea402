"""What a study found, looked at: its table, its page, two of its runs, MLflow."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json
from rankwise.files.checksummed import read_json
from rankwise.records.pairs import NOISE, Difference
from rankwise.workflow import engines

SUMMARY = Path("data/report/summary.json")
PAGE = Path("data/report/index.html")


def show(
    open_page: Annotated[bool, typer.Option("--open", help="Open the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the table of runs and where the report is; open it.

    Example: rankwise show --open
    """
    _refuse_unfinished()
    if as_json:
        typer.echo(to_json(read_json(SUMMARY)), nl=False)
    else:
        print_table()
    if open_page:
        typer.launch(PAGE.resolve().as_uri())


def print_table() -> None:
    """Print the rows of the summary, and where the page is."""
    from rich.console import Console
    from rich.table import Table

    from rankwise.records.measured import Summary

    titles = ("asked", "keep reached", "perplexity", "zero-shot average", "parameters")
    table = Table("run", box=None, header_style="bold")
    for title in (*titles, "checkpoint MB", "tokens/s"):
        table.add_column(title, justify="right", no_wrap=True)
    summary = Summary.load(SUMMARY)
    for row in summary.rows:
        against = row.against_dense
        text, tasks = (against.losses["test"], against.average) if against else (None, None)
        table.add_row(
            row.run,
            row.asked.short(),
            _number(row.keep_reached, ".4f"),
            _number(row.perplexity, ".2f") + _mark(text),
            _number(row.zero_shot_average, ".1%") + _mark(tasks),
            _number(row.parameters, ",d"),
            _number(row.checkpoint_bytes / 1e6, ".2f"),
            _number(row.tokens_per_second, ",.0f"),
        )
    console = Console(markup=False)
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    if len(summary.rows) > 1:
        console.print(
            f"{NOISE}: cannot be told from the dense model ({summary.confidence:.0%} paired interval)",
            highlight=False,
        )
    for sentence in summary.gaps.values():
        console.print(sentence, highlight=False)
    console.print(f"Report: {PAGE}", highlight=False)


def report_partial_results() -> None:
    """Draw the page after a run that failed: runs that are whole, and a sentence for each of the others.

    Nothing is drawn while the dense model is not measured, since everything stands beside it. The next
    run draws the page again.
    """
    drawn = engines.run_command(sys.executable, *_command("report"))
    if drawn.returncode == 0:
        print_table()


def _command(stage: str) -> list[str]:
    """Return the arguments of the stage's command, as the rules gave them."""
    from rankwise.workflow.dvc_yaml import read_stages

    stages = read_stages(Path("dvc.yaml"))
    return shlex.split(stages[stage]["cmd"])[1:]


def _refuse_unfinished() -> None:
    if not SUMMARY.is_file():
        raise RankwiseError(
            f"there is no {SUMMARY} in {Path.cwd()}; run the study first: rankwise run"
        )


def _mark(difference: Difference | None) -> str:
    """Return the sign of a difference inside the noise."""
    return NOISE if difference is not None and difference.noise else ""


def _number(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
