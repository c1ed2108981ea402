"""What a study found, looked at: its table, its page, two of its runs, MLflow."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rankwise.commands.recorded import ReportPaths, read_recorded_command, read_report_paths
from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json
from rankwise.records.pairs import NOISE, Difference
from rankwise.workflow import engines


def show(
    open_page: Annotated[bool, typer.Option("--open", help="Open the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the table of runs and where the report is; open it.

    Example: rankwise show --open
    """
    paths = find_report()
    if as_json:
        typer.echo(to_json(_join_speeds(paths)), nl=False)
    else:
        print_table()
    if open_page:
        typer.launch(paths.page.resolve().as_uri())


def find_report() -> ReportPaths:
    """Return the paths of the report; RankwiseError where the study was not run."""
    paths = read_report_paths()
    if not paths.summary.is_file():
        raise RankwiseError(
            f"there is no {paths.summary} in {Path.cwd()}; run the study first: rankwise run"
        )
    return paths


def print_table() -> None:
    """Print the rows of the summary, and where the page is."""
    from rich.console import Console
    from rich.table import Table

    from rankwise.records.summary import Summary

    titles = ("asked", "keep reached", "perplexity", "zero-shot average", "parameters")
    table = Table("run", box=None, header_style="bold")
    for title in (*titles, "checkpoint MB", "tokens/s"):
        table.add_column(title, justify="right", no_wrap=True)
    paths = find_report()
    summary, speeds = Summary.load(paths.summary), paths.load_results().tokens_per_second
    for row in summary.rows:
        against = row.against_dense
        text, tasks = (against.losses["test"], against.average) if against else (None, None)
        table.add_row(
            row.run,
            row.asked.short(),
            _format(row.keep_reached, ".4f"),
            _format(row.perplexity, ".2f") + _mark_noise(text),
            _format(row.zero_shot_average, ".1%") + _mark_noise(tasks),
            _format(row.parameters, ",d"),
            _format(row.checkpoint_bytes / 1e6, ".2f"),
            _format(speeds.get(row.run), ",.0f"),
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
    console.print(f"Report: {paths.page}", highlight=False)


def report_partial_results() -> None:
    """Draw the page after a run that failed: runs that are whole, and a sentence for each of the others.

    Nothing is drawn while the dense model is not measured, since everything stands beside it. The next
    run draws the page again.
    """
    drawn = engines.run_command(sys.executable, *read_recorded_command("report"))
    if drawn.returncode == 0:
        print_table()


def _join_speeds(paths: ReportPaths) -> dict[str, Any]:
    """Return the summary, every row with its speed, null where runs are not timed [tokens/s]."""
    from rankwise.records.summary import Summary

    table = Summary.load(paths.summary).model_dump(mode="json")
    speeds = paths.load_results().tokens_per_second
    for row in table["rows"]:
        row["tokens_per_second"] = speeds.get(row["run"])
    return table


def _mark_noise(difference: Difference | None) -> str:
    """Return the sign of a difference inside the noise."""
    return NOISE if difference is not None and difference.noise else ""


def _format(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
