"""Table and figures of bench/predicted.py: how well each method's own measure orders what a truncation costs."""

from pathlib import Path
from typing import Any

import numpy as np
from document import ROOT, fill, plt
from scipy.stats import spearmanr

from rankwise.files.checksummed import read_json

NOISE = 1e-4
"""Changes of the loss nearer to zero than this are drawn on the edge and counted, not dropped [nats/token]."""
KINDS = ("q", "k", "v", "o", "gate", "up", "down")
HEAD = [
    "decomposer", "all", "at one share", *KINDS, "with KL", "measured / predicted", "below noise",
]  # fmt: skip


def write_page(folder: Path) -> None:
    """Write the group ``predicted`` of docs/results.md and a figure a model, from all records."""
    records = [read_json(path) for path in sorted(folder.glob("*.json"))]
    parts = []
    for model in sorted({record["model"] for record in records}):
        members = [record for record in records if record["model"] == model]
        # Those that predict the loss stand first.
        members.sort(key=lambda record: (record["measure"] != "LOSS", record["method"]))
        figure(members, ROOT / f"docs/figures/predicted-{model}.svg")
        picture = f"![Predicted and measured loss, {model}](figures/predicted-{model}.svg)"
        parts.append(f"{model}: {sentence(members)}\n\n{table(members)}\n\n{picture}")
    fill(ROOT / "docs/results.md", "predicted", "\n\n".join(parts))


def sentence(records: list[dict[str, Any]]) -> str:
    """Say what was measured on how much."""
    setting, rows = records[0]["setting"], records[0]["rows"]
    (calibration, search), length = setting["sequences"], setting["length"]
    shares = ", ".join(f"{share:g}" for share in setting["shares"])
    linears = len({row["linear"] for row in rows})
    return (
        f"{len(rows)} truncations ({linears} linears at shares {shares}), statistics on {calibration} "
        f"and loss on {search} sequences of {length} tokens."
    )


def table(records: list[dict[str, Any]]) -> str:
    """Return rank correlations by method, as Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    for record in records:
        found = correlations(record["rows"])
        cells = [f"{found[key]:.3f}" for key in ("all", "share", *KINDS, "kl")]
        ratio = "–"
        if record["measure"] == "LOSS":
            low, middle, high = ratios(record["rows"])
            ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        lines.append(
            f"| `{record['method']}` | {' | '.join(cells)} | {ratio} | {noisy(record['rows'])} |"
        )
    return "\n".join(lines)


def correlations(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return Spearman's rank correlations of predicted with measured [-].

    Over all rows; between linears at one share, the mean over shares; over the rows of every type; and
    over all rows with the KL to the dense model in place of the loss. A loss that is not finite ranks
    above all others.
    """
    shares = sorted({row["share"] for row in rows})
    at_one = [_spearman([row for row in rows if row["share"] == share]) for share in shares]
    found = {"all": _spearman(rows), "share": float(np.mean(at_one)), "kl": _spearman(rows, "kl")}
    for kind in {row["kind"] for row in rows}:
        found[kind] = _spearman([row for row in rows if row["kind"] == kind])
    return found


def ratios(rows: list[dict[str, Any]]) -> list[float]:
    """Return the quartiles of measured / predicted over all rows [-]."""
    values = [_number(row["measured"]) / row["predicted"] for row in rows]
    quartiles: list[float] = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return quartiles


def noisy(rows: list[dict[str, Any]]) -> int:
    """Count the rows whose loss rose by less than the noise, or fell."""
    return sum(_number(row["measured"]) < NOISE for row in rows)


def figure(records: list[dict[str, Any]], path: Path) -> None:
    """Predicted against measured, one panel a method, colours by type, both axes logarithmic."""
    size = (3.1 * len(records), 3.5)
    drawn, panels = plt.subplots(1, len(records), figsize=size, layout="constrained", sharey=True)
    for axes, record in zip(np.atleast_1d(panels), records, strict=True):
        for place, kind in enumerate(KINDS):
            rows = [row for row in record["rows"] if row["kind"] == kind]
            x = np.array([row["predicted"] for row in rows])
            y = np.array([_number(row["measured"]) for row in rows])
            seen, color = y >= NOISE, f"C{place}"
            axes.scatter(x[seen], y[seen], s=9, color=color, label=kind)
            edge = {"s": 14, "marker": "v", "facecolors": "none", "edgecolors": color}
            axes.scatter(x[~seen], np.full((~seen).sum(), NOISE), linewidths=0.7, **edge)
        unit = "own measure"
        if record["measure"] == "LOSS":
            unit = "nats/token"
            ends = np.array(axes.get_xlim())
            axes.plot(ends.clip(NOISE), ends.clip(NOISE), color="0.6", lw=0.8, zorder=0)
        rank = correlations(record["rows"])["all"]
        axes.set(xscale="log", yscale="log", xlabel=f"predicted [{unit}]")
        axes.set_title(f"{record['method']}, rank correlation {rank:.2f}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("measured rise of the loss [nats/token]")
    first.legend(frameon=False, fontsize=7, handletextpad=0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)


def _spearman(rows: list[dict[str, Any]], key: str = "measured") -> float:
    values = [_number(row[key]) for row in rows]
    return float(spearmanr([row["predicted"] for row in rows], values).statistic)


def _number(value: float | None) -> float:
    """A recorded number; None stands for what was not finite."""
    return float("inf") if value is None else value
