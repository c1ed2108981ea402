"""What the factors say: spectra, notes, and the loss that a run's ranks were expected to cost."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from rankwise.report.figures import Figure, forward_place, plain, scale
from rankwise.report.styles import COLORS, DASHES, DENSE_COLOR, Styles
from rankwise.results.decompositions import Decomposition
from rankwise.results.run import RunResult

POINTS = 41
"""Points of one drawn spectrum."""


def spectra_figure(made: Decomposition, kinds: dict[str, str]) -> Figure:
    """What is lost against the share of components kept: squared tail of the spectrum, a line a type.

    Mean over layers, on a common grid of shares; components only, sparse entries are not drawn.
    ``kinds``: linear → its role in a block.
    """
    shares = np.linspace(0, 1, POINTS)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for name, spectrum in made.spectra.items():
        squares = spectrum**2
        if not squares.sum():
            continue
        tails = np.append(squares[::-1].cumsum()[::-1], 0.0) / squares.sum()
        at = np.interp(shares * len(squares), np.arange(len(tails)), tails)
        found.setdefault(kinds[name], []).append(at)
    figure = go.Figure()
    for place, kind in enumerate(sorted(found, key=lambda kind: (forward_place(kind), kind))):
        mean = np.mean(found[kind], axis=0)
        # Lines without markers: a dash of its own for every one says again what its colour says.
        style = {"color": COLORS[place % len(COLORS)], "dash": DASHES[place % len(DASHES)]}
        figure.add_scatter(
            x=shares.round(4).tolist(), y=[float(f"{value:.4g}") for value in mean], mode="lines",
            name=kind, line={**style, "width": 1.5},
            hovertemplate=f"{kind}: %{{y:.3g}} left at %{{x:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="share of components kept")
    figure.update_yaxes(title="share of the measure lost")
    figure.update_layout(height=220)
    return plain(figure)


def predicted_figure(results: list[RunResult]) -> Figure:
    """Measured against predicted change of the loss, with paired intervals; on the line they agree."""
    styles, figure = Styles(results), go.Figure()
    points = [
        (r, r.predicted, r.against_dense.losses["test"])
        for r in results
        if r.against_dense and r.predicted is not None
    ]
    for run, predicted, measured in points:
        bars = {
            "array": [measured.high - measured.mean], "arrayminus": [measured.mean - measured.low],
            "symmetric": False, "thickness": 1, "width": 3,
        }  # fmt: skip
        figure.add_scatter(
            x=[predicted], y=[measured.mean], error_y=bars, mode="markers", name=run.name,
            marker={"color": styles.color(run), "symbol": styles.symbol(run), "size": 9},
            hovertemplate=f"{run.name}: %{{x:.3g}} predicted, %{{y:.3g}} measured<extra></extra>",
        )  # fmt: skip
    values = [value for _, predicted, measured in points for value in (predicted, measured.mean)]
    figure.add_scatter(
        x=[min(values), max(values)], y=[min(values), max(values)], mode="lines", showlegend=False,
        hoverinfo="skip", line={"color": DENSE_COLOR, "dash": "dot", "width": 1},
    )  # fmt: skip
    figure.update_xaxes(title="predicted [nats/token]", **scale(values, most=2))
    figure.update_yaxes(title="measured [nats/token]", **scale(values))
    return plain(figure)
