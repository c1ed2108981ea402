"""How the searches went: every trial, the best so far, and what the closed form gives."""

from itertools import accumulate

import plotly.graph_objects as go

from rankwise.report.figures import Figure, plain, scale
from rankwise.report.styles import Styles
from rankwise.results.run import RunResult


def search_convergence(results: list[RunResult]) -> Figure:
    """Objective of every trial, and the best so far; trials that failed have no mark.

    Where a search goes around the answer in closed form, that is its trial 0, drawn as a level.
    """
    styles, figure, seen = Styles(results), go.Figure(), []
    for result in results:
        rows = [row for row in result.trials if row["objective"] is not None]
        if not rows:
            continue
        trials, values = [row["trial"] for row in rows], [row["objective"] for row in rows]
        seen += values
        marker = {
            "color": styles.color(result),
            "symbol": styles.symbol(result),
            "size": 6,
            "opacity": 0.55,
        }
        figure.add_scatter(
            x=trials, y=values, mode="markers", marker=marker, name=result.name,
            legendgroup=result.name, showlegend=False, hovertemplate="trial %{x}: %{y:.4g}",
        )  # fmt: skip
        line = {
            "color": styles.color(result),
            "shape": "hv",
            "dash": styles.dash(result),
            "width": 2,
        }
        end = {**marker, "size": [0] * (len(trials) - 1) + [9], "opacity": 1}
        figure.add_scatter(
            x=trials, y=list(accumulate(values, min)), mode="lines+markers", line=line, marker=end,
            name=result.name, legendgroup=result.name, hovertemplate="best so far %{y:.4g}",
        )  # fmt: skip
        if rows[0]["trial"] == 0 and "losses" in rows[0]:
            level = {**line, "dash": "dot", "width": 1}
            figure.add_scatter(
                x=[0, trials[-1]], y=[values[0]] * 2, mode="lines", line=level,
                name=f"{result.name}, closed form", legendgroup=result.name,
                hovertemplate="closed form %{y:.4g}",
            )  # fmt: skip
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="objective", **scale(seen))
    return plain(figure)
