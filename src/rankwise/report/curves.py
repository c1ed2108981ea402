"""How the refined runs were trained: loss over epochs, and in a sentence what came of it."""

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from rankwise.records.refine import Curve, RefineRecord
from rankwise.report.figures import Figure, plain, scale

DEPTHS = ["#c0503f", "#b84a8c", "#7f67c8", "#3f7fd0", "#1d9a86"]
"""Colours of the blocks from first to last; those between are mixed."""
NAMED = 8
"""Most blocks that all stand in the legend; of more, only the first and the last."""


def refinement_curves(record: RefineRecord) -> Figure:
    """Loss of every block, or of the model, over epochs: held-out and training text, the best one marked.

    Held-out loss is drawn as a line from epoch 0, the state before the first; the mean over an epoch
    of the training text's is dotted. Values that are not finite are gaps.
    """
    figure, last = go.Figure(), len(record.curves) - 1
    colors = sample_colorscale(DEPTHS, [place / max(1, last) for place in range(last + 1)])
    for place, (curve, color) in enumerate(zip(record.curves, colors, strict=True)):
        named = last < NAMED or place in (0, last)
        _draw(figure, curve, color, named=named)
    values = [
        loss
        for curve in record.curves
        for loss in (*curve.train, *curve.held_out)
        if loss is not None
    ]
    epochs = max((len(curve.train) for curve in record.curves), default=0)
    figure.update_xaxes(title="epoch", dtick=max(1, epochs // 8), zeroline=False)
    figure.update_yaxes(title="loss, refiner's measure", **scale(values))
    return plain(figure)


def outcome(record: RefineRecord) -> str:
    """Say in a sentence what the refinement did to the loss on held-out text, and what is returned."""
    before, after, dense = map(_loss, (record.loss_before, record.loss_after, record.dense_loss))
    losses = f"Held-out loss {before} before, {after} after, {dense} dense [nats/token]"
    if record.returned_input:
        return f"{losses}: no better than the input, {record.of}, which is returned as it was."
    return f"{losses}."


def _draw(figure: go.Figure, curve: Curve, color: str, *, named: bool) -> None:
    """Add the lines of one training, and the ring around the epoch whose state is kept."""
    name = "model" if curve.layer is None else f"block {curve.layer}"
    epochs, best = list(range(len(curve.held_out))), curve.best
    shared = {"name": name, "legendgroup": name}
    figure.add_scatter(
        x=epochs, y=curve.held_out, mode="lines", line={"color": color, "width": 2},
        showlegend=named, hovertemplate="held out %{y:.4g}", **shared,
    )  # fmt: skip
    figure.add_scatter(
        x=epochs[1:], y=curve.train, mode="lines", line={"color": color, "width": 1, "dash": "dot"},
        showlegend=False, hovertemplate="training %{y:.4g}", **shared,
    )  # fmt: skip
    figure.add_scatter(
        x=[best], y=[curve.held_out[best]], mode="markers", showlegend=False,
        marker={"color": color, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate="kept: epoch %{x}, held out %{y:.4g}", **shared,
    )  # fmt: skip


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
