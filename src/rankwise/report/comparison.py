"""Two runs side by side, printed on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from rankwise.params.sample import FURTHER
from rankwise.records.pairs import NOISE, Difference
from rankwise.report.table import points, relative
from rankwise.report.words import NOTHING, number, word
from rankwise.results.compare import Comparison


def print_comparison(comparison: Comparison) -> None:
    """Print parameters, ranks and scores in which two runs differ."""
    console = Console(markup=False)
    if not console.is_terminal:
        console.width = 120
    console.print(f"{comparison.run} against {comparison.reference}", style="bold", highlight=False)
    _print_rows(console, "parameters that differ", _tabulate_parameters(comparison))
    _print_rows(console, "what is kept, by type", _tabulate_kinds(comparison))
    _print_rows(console, "largest differences", _tabulate_largest(comparison))
    _print_rows(console, "scores", _tabulate_scores(comparison))
    console.print(
        f"Differences: {comparison.run} less {comparison.reference}, perplexity in per cent, accuracy in points, "
        f"with the {comparison.confidence:.0%} interval of a paired bootstrap. {NOISE}: the interval holds zero. "
        "p: McNemar's exact test on the items that only one of the two has right.",
        highlight=False,
    )


def _print_rows(console: Console, title: str, rows: list[list[str]]) -> None:
    """Print a table, its first row being the heads, or that there is nothing."""
    head, *others = rows
    if not others:
        console.print(f"\n{title}: none", highlight=False)
        return
    table = Table(title=f"\n{title}", title_justify="left", box=None, header_style="bold")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", no_wrap=not place)
    for row in others:
        table.add_row(*row)
    console.print(table)


def _tabulate_parameters(comparison: Comparison) -> list[list[str]]:
    return [
        ["key", comparison.run, comparison.reference],
        *(
            [key, _format_value(ours), _format_value(theirs)]
            for key, (ours, theirs) in comparison.parameters.items()
        ),
    ]


def _tabulate_kinds(comparison: Comparison) -> list[list[str]]:
    names = (comparison.run, comparison.reference)
    return [
        [
            "type",
            "linears",
            "differ",
            *(f"kept, {n}" for n in names),
            *(f"mean rank, {n}" for n in names),
        ],
        *(
            [
                kind,
                str(ranks.linears),
                str(ranks.differ),
                *(f"{value:.3f}" for value in ranks.kept),
                *(f"{value:.1f}" for value in ranks.mean_rank),
            ]
            for kind, ranks in comparison.kinds.items()
        ),
    ]


def _tabulate_largest(comparison: Comparison) -> list[list[str]]:
    names = (comparison.run, comparison.reference)
    return [
        ["linear", *(f"kept, {n}" for n in names), *(f"rank, {n}" for n in names)],
        *(
            [linear.name, *(f"{value:.3f}" for value in linear.kept), *map(str, linear.rank)]
            for linear in comparison.largest
            if linear.kept[0] != linear.kept[1]
        ),
    ]


def _tabulate_scores(comparison: Comparison) -> list[list[str]]:
    rows = [["", comparison.run, comparison.reference, "difference", "gained", "lost", "p"]]
    for key, (ours, theirs) in comparison.scores.items():
        task = comparison.pair.tasks.get(key)
        text = comparison.pair.losses.get(
            key.replace("perplexity, ", FURTHER).replace("perplexity", "test")
        )
        counted = [NOTHING] * 3
        if task is not None:
            counted = [str(task.gained), str(task.lost), f"{task.p:.2g}"]
        if key.startswith("perplexity"):
            rows.append(
                [key, number(ours), number(theirs), _format_difference(text, relative), *counted]
            )
        else:
            difference = task.acc if task is not None else comparison.pair.average
            rows.append(
                [
                    key,
                    f"{ours:.1%}",
                    f"{theirs:.1%}",
                    _format_difference(difference, points),
                    *counted,
                ]
            )
    for key, (ours, theirs) in comparison.size.items():
        shown = [
            f"{value:.4f}" if key == "keep_reached" else f"{value:,.0f}" for value in (ours, theirs)
        ]
        rows.append([key.replace("_", " "), *shown, *[""] * 4])
    return rows


def _format_difference(difference: Difference | None, form: Any) -> str:
    return NOTHING if difference is None else form(difference)[0]


def _format_value(value: Any) -> str:
    return NOTHING if value is None else word(value)
