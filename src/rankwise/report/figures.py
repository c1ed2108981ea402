"""The report's figures, as Plotly's JSON; colours of text and grid come from the page's own style."""

import json
import math
from typing import Any

import plotly.graph_objects as go

from rankwise.params.names import DENSE
from rankwise.records.allocation import AllocationRecord
from rankwise.report.keeps import lines_over_keep
from rankwise.report.styles import DENSE_COLOR, Styles
from rankwise.results.run import RunResult

LOG_RANGE = 10.0
"""An axis whose largest value is more than so many times its smallest is logarithmic."""
DECADES = 5
"""Most powers of ten between which a logarithmic axis has room for more ticks."""
KINDS = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down")
"""Types of linear in the order of the forward pass; others stand below them."""
Figure = dict[str, Any]


def perplexity_by_keep(results: list[RunResult]) -> Figure:
    """Perplexity against the share kept, one line a method; the dense model as a level.

    Error bars: the paired interval of the difference from the dense model, which has none itself; of
    several seeds their range.
    """
    values = {result.name: result.scores.perplexity for result in results}
    dense = results[0].scores.loss
    bars = {
        r.name: (
            values[r.name] - math.exp(dense + d.low),
            math.exp(dense + d.high) - values[r.name],
        )
        for r in results
        if r.against_dense and (d := r.against_dense.losses["test"])
    }
    figure = lines_over_keep(results, values, bars)
    _level(figure, results, values[DENSE], DENSE)
    figure.update_yaxes(title="perplexity", **scale(list(values.values())))
    return plain(figure)


def loss_above_dense(results: list[RunResult]) -> Figure:
    """Loss above the dense model's on a logarithmic axis, with paired intervals, where it is above."""
    found = {r.name: r.against_dense.losses["test"] for r in results if r.against_dense}
    values = {name: difference.mean for name, difference in found.items() if difference.mean > 0}
    bars = {
        name: (found[name].mean - found[name].low, found[name].high - found[name].mean)
        for name in values
    }
    figure = lines_over_keep([r for r in results if r.name in values], values, bars)
    figure.update_yaxes(title="nats/token", **scale(list(values.values())))
    return plain(figure)


def zero_shot_by_keep(results: list[RunResult]) -> Figure:
    """Zero-shot average against the share kept, dense, and guessing; error bars as of perplexity."""
    values = {r.name: r.scores.zero_shot_average for r in results}
    known = {name: value for name, value in values.items() if value is not None}
    bars = {
        r.name: (d.mean - d.low, d.high - d.mean)
        for r in results
        if r.against_dense and (d := r.against_dense.average)
    }
    figure = lines_over_keep([r for r in results if r.name in known], known, bars)
    _level(figure, results, known[DENSE], DENSE)
    tasks = next(r for r in results if r.name == DENSE).scores.zero_shot.values()
    guessing = sum(task.chance for task in tasks) / len(tasks)
    _level(figure, results, guessing, "guessing")
    figure.update_yaxes(title="zero-shot average", tickformat=".0%")
    return plain(figure)


def accuracy_by_task(results: list[RunResult]) -> Figure:
    """Accuracy of every run on every task, with standard errors; guessing as a bar across."""
    styles, figure = Styles(results), go.Figure()
    tasks = sorted(results[0].scores.zero_shot)
    dense = results[0].scores.zero_shot
    for result in results:
        scores = [result.scores.zero_shot[task] for task in tasks]
        marker = {"color": styles.color(result), "symbol": styles.symbol(result), "size": 8}
        if result.name == DENSE:
            marker["line"] = {"width": 2.5, "color": DENSE_COLOR}
        errors = {"array": [s.acc_stderr for s in scores], "thickness": 1, "width": 0}
        figure.add_scatter(
            x=[s.acc for s in scores],
            y=tasks,
            error_x=errors,
            mode="markers",
            orientation="h",
            name=result.name,
            offsetgroup=result.name,
            marker=marker,
            hovertemplate="%{y}: %{x:.1%}",
        )
    for position, task in enumerate(tasks):
        ends = {"y0": position - 0.42, "y1": position + 0.42}
        line = {"color": DENSE_COLOR, "width": 1, "dash": "dot"}
        figure.add_shape(
            type="line", x0=dense[task].chance, x1=dense[task].chance, line=line, **ends
        )
    figure.update_layout(
        scattermode="group", scattergap=0.25, height=60 + _row_height(results) * len(tasks)
    )
    least = min(s.acc - s.acc_stderr for r in results for s in r.scores.zero_shot.values())
    left = min(least, *(task.chance for task in dense.values())) - 0.03
    figure.update_xaxes(title="accuracy", tickformat=".0%", range=[max(0.0, left), 1.02])
    figure.update_yaxes(type="category", autorange="reversed", ticklabelstandoff=4)
    return plain(figure)


def ranks_map(result: RunResult) -> Figure:
    """Share of parameters kept in every linear, or in all experts' together: layer across, type down."""
    assert result.allocation is not None  # noqa: S101 (the caller skips the dense model)
    members: dict[tuple[str, int], list[str]] = {}
    for name, linear in result.allocation.linears.items():
        members.setdefault((linear.kind, linear.layer), []).append(name)
    cells = {at: _cell(result.allocation, names) for at, names in members.items()}
    kinds = sorted({kind for kind, _ in cells}, key=lambda kind: (forward_place(kind), kind))
    layers = sorted({layer for _, layer in cells})
    grid = [[cells.get((kind, layer), (None, "")) for layer in layers] for kind in kinds]
    shares = [[share for share, _ in row] for row in grid]
    heat = go.Heatmap(
        z=shares,
        x=layers,
        y=kinds,
        text=[["" if share is None else f"{share:.2f}" for share in row] for row in shares],
        texttemplate="%{text}" if len(layers) <= 6 else None,
        customdata=[[text for _, text in row] for row in grid],
        hovertemplate="%{customdata}<br>keeps %{z:.3f}<extra></extra>",
        zmin=0,
        zmax=1,
        colorscale=[[0, "#f5ead6"], [0.5, "#a8c7d8"], [0.75, "#4f88b3"], [1, "#17375e"]],
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure = go.Figure(heat)
    figure.update_xaxes(
        title="layer", dtick=max(1, len(layers) // 8), showgrid=False, zeroline=False
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(height=80 + 28 * len(kinds))
    return plain(figure)


def _cell(allocation: AllocationRecord, names: list[str]) -> tuple[float, str]:
    """Return the share of parameters that some linears keep together, and what is said of them."""
    linears = [allocation.linears[name] for name in names]
    share = sum(x.parameters for x in linears) / sum(math.prod(x.shape) for x in linears)
    out, columns = linears[0].shape
    if len(names) > 1:
        return share, f"{names[0]} and {len(names) - 1} more<br>each {out} by {columns}"
    rank = "dense" if linears[0].rank is None else f"rank {linears[0].rank}"
    return share, f"{names[0]}<br>{rank} of {out} by {columns}"


def _level(figure: go.Figure, results: list[RunResult], value: float, label: str) -> None:
    """Draw a labelled level from the smallest share to 1."""
    line = {"color": DENSE_COLOR, "width": 1.5, "dash": "dash" if label == DENSE else "dot"}
    figure.add_scatter(
        x=[min(result.scores.keep_reached for result in results), 1],
        y=[value, value],
        mode="lines+text",
        text=[label, ""],
        textposition="top right",
        textfont={"color": DENSE_COLOR, "size": 11},
        line=line,
        showlegend=False,
        hovertemplate=f"{label}: %{{y:.4g}}<extra></extra>",
    )


def forward_place(kind: str) -> int:
    """Place of a type of linear from top to bottom: in the order of the forward pass."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def scale(values: list[float], most: int = DECADES) -> dict[str, Any]:
    """Return a logarithmic axis where the values need one; ticks at 1, 2 and 5, over more than ``most`` powers at 1."""
    if not values or min(values) <= 0 or max(values) / min(values) <= LOG_RANGE:
        return {}
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    steps = (1, 2, 5) if len(powers) <= most else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}


def _row_height(results: list[RunResult]) -> int:
    """Height of one task's row of dots [px]."""
    return max(46, 11 * len(results))


def plain(figure: go.Figure) -> Figure:
    """Return data and layout without Plotly's template, which would override the page's style."""
    figure.update_layout(template="none")
    whole: Figure = json.loads(figure.to_json())
    return {"data": whole["data"], "layout": whole["layout"]}
