"""What the stages took, from the files beside their logs: the last time each job ran."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import plotly.graph_objects as go
from pydantic import BaseModel, Field

from rankwise.params.section import read_section
from rankwise.report.figures import Figure, plain
from rankwise.report.styles import COLORS, DENSE_COLOR


class Taken(BaseModel):
    """What one job took, as the command line writes it beside its log."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Wall time [s]."""
    cpu_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    peak_mb: Annotated[int, Field(ge=0)]
    """[MB]."""


@dataclass
class Cost:
    """All jobs of one stage."""

    stage: str
    jobs: int = 0
    seconds: float = 0.0
    """Wall time, added up; jobs may have run side by side [s]."""
    cpu_seconds: float = 0.0
    peak_mb: int = 0
    """Of the largest job [MB]."""


def read_costs(logs: Path | None) -> list[Cost]:
    """Return what every stage took, the longest first; nothing where there are no such files."""
    found: dict[str, Cost] = {}
    for path in sorted(logs.rglob("*.json")) if logs else ():
        taken, stage = (
            read_section(path, Taken),
            path.relative_to(logs or path).parts[0].split(".")[0],
        )
        cost = found.setdefault(stage, Cost(stage))
        cost.jobs += 1
        cost.seconds += taken.seconds
        cost.cpu_seconds += taken.cpu_seconds
        cost.peak_mb = max(cost.peak_mb, taken.peak_mb)
    return sorted(found.values(), key=lambda cost: -cost.seconds)


def costs_figure(costs: list[Cost]) -> Figure:
    """Wall and CPU time by stage, jobs added up."""
    figure = go.Figure()
    stages = [f"{cost.stage} ({cost.jobs})" for cost in costs]
    notes = [f"at most {cost.peak_mb:,} MB" for cost in costs]
    for name, values, color in (
        ("wall time", [cost.seconds for cost in costs], COLORS[0]),
        ("CPU time", [cost.cpu_seconds for cost in costs], DENSE_COLOR),
    ):
        figure.add_bar(
            y=stages, x=values, orientation="h", name=name, marker={"color": color},
            customdata=notes, hovertemplate="%{y}: %{x:.1f} s, %{customdata}",
        )  # fmt: skip
    figure.update_xaxes(title="seconds, all jobs")
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=4)
    figure.update_layout(height=60 + 34 * len(costs), bargap=0.3)
    return plain(figure)
