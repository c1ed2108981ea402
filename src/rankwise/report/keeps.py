"""Curves over the share kept: a line a method; runs that differ in their seed alone are one point."""

from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go

from rankwise.files.atomic import to_json
from rankwise.report.styles import Styles
from rankwise.results.run import RunResult

Bars = dict[str, tuple[float, float]]
"""Run → how far its error bar reaches down and up."""


@dataclass(frozen=True)
class Point:
    """One run, or the mean of those of several seeds."""

    runs: tuple[RunResult, ...]
    value: float
    down: float
    """How far the error bar reaches down: of one run that of the measurement, of several to the least."""
    up: float

    @property
    def keep(self) -> float:
        """Mean of the share that is kept [-]."""
        return fmean(run.scores.keep_reached for run in self.runs)

    @property
    def label(self) -> str:
        """What hovering says."""
        first = self.runs[0].name
        return first if len(self.runs) == 1 else f"{first} and {len(self.runs) - 1} more seeds"


def by_seed(results: list[RunResult]) -> list[list[RunResult]]:
    """Return the runs in groups that differ in nothing but the seed of their search, in order."""
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(_all_but_seed(result), []).append(result)
    return list(groups.values())


def points(results: list[RunResult], values: dict[str, float], bars: Bars) -> list[Point]:
    """Return the points of one method, by rising keep: of several seeds the mean, least and most."""
    found = []
    for runs in by_seed(results):
        numbers = [values[run.name] for run in runs]
        mean = fmean(numbers)
        down, up = mean - min(numbers), max(numbers) - mean
        if len(runs) == 1:
            down, up = bars.get(runs[0].name, (0.0, 0.0))
        found.append(Point(tuple(runs), mean, down, up))
    return sorted(found, key=lambda point: point.keep)


def lines_over_keep(results: list[RunResult], values: dict[str, float], bars: Bars) -> go.Figure:
    """One line a method over the share kept; hovering names the run."""
    styles, figure = Styles(results), go.Figure()
    for method in styles.methods:
        own = points([r for r in results if r.method == method], values, bars)
        errors = {
            "arrayminus": [point.down for point in own],
            "array": [point.up for point in own],
            "symmetric": False,
            "thickness": 1,
            "width": 3,
        }
        figure.add_scatter(
            x=[point.keep for point in own],
            y=[point.value for point in own],
            error_y=errors if any(point.down or point.up for point in own) else None,
            customdata=[point.label for point in own],
            mode="lines+markers",
            name=method,
            line={"color": styles.color(own[0].runs[0]), "width": 1.5},
            marker={"size": 9, "symbol": [styles.symbol(point.runs[0]) for point in own]},
            hovertemplate="%{customdata}: %{y:.4g} at keep %{x:.3f}<extra></extra>",
        )
    figure.update_xaxes(title="keep reached")
    return figure


def _all_but_seed(result: RunResult) -> str:
    """Return all that made a run but its seed; a run that has none stands for itself."""
    allocation = result.allocation
    if allocation is None or "seed" not in allocation.parameters:
        return f"run {result.name}"
    refined = result.refinement.parameters if result.refinement else {}
    settings = {key: value for key, value in allocation.parameters.items() if key != "seed"}
    return to_json([result.method, str(result.scores.asked), settings, refined])
