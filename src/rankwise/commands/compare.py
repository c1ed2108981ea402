"""What a study found, looked at: its table, its page, two of its runs, MLflow."""

from typing import Annotated

import typer

from rankwise.files.atomic import to_json


def compare(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or 'dense'.")],
    reference: Annotated[str, typer.Argument(metavar="RUN", help="What it is set against.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print in what two runs of the study differ: parameters, ranks, scores with paired intervals.

    Example: rankwise compare rankwise-80 oats-80
    """
    from rankwise.commands.recorded import read_report_paths
    from rankwise.report.comparison import print_comparison
    from rankwise.results.compare import compare_runs

    comparison = compare_runs(read_report_paths().load_results(), run, reference)
    if as_json:
        typer.echo(to_json(comparison.model_dump(mode="json")), nl=False)
    else:
        print_comparison(comparison)
