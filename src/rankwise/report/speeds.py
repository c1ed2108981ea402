"""How fast the runs are at every batch size, as factors of the dense model timed in turn with each."""

import plotly.graph_objects as go

from rankwise.report.figures import Figure, plain
from rankwise.report.study import RunResult
from rankwise.report.styles import DENSE_COLOR, Styles
from rankwise.runs import DENSE


def speed_by_batch(results: list[RunResult]) -> Figure:
    """Prefill and decoding of every run over batch sizes; a level at 1, the dense model itself."""
    styles, figure = Styles(results), go.Figure()
    runs = [result for result in results if result.name != DENSE]
    for result in runs:
        pairs = list(zip(result.speed.points, result.speed.dense, strict=True))
        for phase, dash in (("prefill", "solid"), ("decode", "dot")):
            factors = [getattr(p, phase).median / getattr(d, phase).median for p, d in pairs]
            figure.add_scatter(
                x=[str(point.batch) for point, _ in pairs],
                y=factors,
                mode="lines+markers",
                name=result.name,
                legendgroup=result.name,
                showlegend=phase == "prefill",
                line={"color": styles.color(result), "width": 1.5, "dash": dash},
                marker={"size": 8, "symbol": styles.symbol(result)},
                hovertemplate=f"{result.name}, {phase}: × %{{y:.2f}} at batch %{{x}}<extra></extra>",
            )
    figure.add_hline(y=1, line={"color": DENSE_COLOR, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title="batch size", type="category")
    figure.update_yaxes(title="factor of the dense model")
    return plain(figure)
