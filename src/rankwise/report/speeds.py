"""How fast the runs are: factors of the dense model timed in turn with each, with their spread."""

from typing import Literal

import plotly.graph_objects as go

from rankwise.report.figures import Figure, plain
from rankwise.report.styles import COLORS, DENSE_COLOR, SHAPES
from rankwise.results.run import RunResult

ROW = 26
"""Height of one run [px]."""
LONGEST = 18
"""Most letters of a run's name beside its row."""


def speed_beside_dense(results: list[RunResult], phase: Literal["prefill", "decode"]) -> Figure:
    """Of runs that were timed: tokens a second over those of the dense model, a row a run, a marker a batch size.

    Bars: quartiles of the repeats, over the same median of the dense model. The dense model's own row
    is its second copy beside itself: what differs there is the machine's unrest.
    """
    figure, ends = go.Figure(), [1.0]
    records = [result.speed for result in results if result.speed is not None]
    batches = [point.batch for point in records[0].points]
    for place, batch in enumerate(batches):
        timed = [
            (getattr(record.points[place], phase), getattr(record.dense[place], phase))
            for record in records
        ]
        factors = [ours.median / dense.median for ours, dense in timed]
        below = [(ours.median - ours.quartiles[0]) / dense.median for ours, dense in timed]
        above = [(ours.quartiles[1] - ours.median) / dense.median for ours, dense in timed]
        ends += [f - less for f, less in zip(factors, below, strict=True)]
        ends += [f + more for f, more in zip(factors, above, strict=True)]
        figure.add_scatter(
            x=factors,
            y=[result.name for result in results],
            error_x={"array": above, "arrayminus": below, "thickness": 1.5, "width": 0},
            mode="markers",
            orientation="h",
            name=f"batch {batch}",
            offsetgroup=str(batch),
            marker={
                "color": COLORS[place % len(COLORS)],
                "symbol": SHAPES[place % len(SHAPES)],
                "size": 8,
            },
            customdata=[f"{ours.median:,.0f} tokens/s, dense {d.median:,.0f}" for ours, d in timed],
            hovertemplate=f"%{{y}}, batch {batch}: × %{{x:.2f}}<br>%{{customdata}}<extra></extra>",
        )
    figure.add_vline(x=1, line={"color": DENSE_COLOR, "width": 1.5, "dash": "dash"})
    figure.update_layout(
        scattermode="group",
        scattergap=0.4,
        height=70 + max(1, len(batches) / 2) * ROW * len(results),
    )
    names = [result.name for result in results]
    figure.update_yaxes(
        type="category",  # or Plotly takes a run named 10-1 for a date
        autorange="reversed",
        tickvals=names,
        ticktext=[n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}…" for n in names],
        ticklabelstandoff=4,
    )
    room = 0.02 + 0.05 * (max(ends) - min(ends))
    reach = [min(ends) - room, max(ends) + room]
    figure.update_xaxes(title="× the dense model's tokens/s", range=reach)
    return plain(figure)
