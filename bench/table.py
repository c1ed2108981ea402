"""Write the tables of all methods, their figure and what follows from them into docs/results.md.

    python bench/table.py FOLDER

FOLDER holds the studies of bench/methods.py. Mean ± standard deviation over the calibration seeds that
are there; every number is read from a study's records.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from document import ROOT, fill, plt
from methods import RUNS, VARIANTS, percent

from rankwise.files.checksummed import read_checksummed_lines
from rankwise.params.names import DENSE
from rankwise.records.allocation import AllocationRecord
from rankwise.records.scores import Scores

KEEPS = (0.8, 0.6, 0.5)
SEED_METHODS = ("bolaco", "bolaco-tpe", "cap", "mgaa", "oats")
"""The systems that the field starts from, unrefined; OATS stands for SSLC."""
SHOWN = ("svd-llm", "mgaa", "bolaco", "cap", "oats", "rankwise-low-rank", "ours", "ours-refined")
MODELS = {"embedded": "the embedded model", "wikitext": "the small real-English LLaMA"}


@dataclass(frozen=True)
class Measured:
    """One run of one study."""

    study: Path
    name: str

    @cached_property
    def scores(self) -> Scores:
        return Scores.load(self.study / f"data/scores/{self.name}.json")

    @cached_property
    def dense(self) -> Scores:
        return Scores.load(self.study / f"data/scores/{DENSE}.json")

    @property
    def excess(self) -> float:
        """Loss above the dense model's on the same test text [nats/token]."""
        return self.scores.loss - self.dense.loss

    @property
    def divergence(self) -> float | None:
        """KL(dense ‖ compressed) per token, where bench/divergence.py has measured it [nats]."""
        path = self.study.parent / "divergence.json"
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        value = found.get(f"{self.study.name}/{self.name}", {}).get("kl")
        return None if value is None else float(value)

    @property
    def seconds(self) -> float | None:
        """CPU time of decomposition and allocation; statistics, which methods share, are not in it [s]."""
        path = self.study / f"data/allocate/{self.name}.json"
        if not path.is_file():
            return None
        section = AllocationRecord.load(path).decompose
        logs = (self.study / f"logs/decompose/dense/{section}").glob("*.json")
        costs = [*logs, self.study / f"logs/allocate/{self.name}.json"]
        return sum(json.loads(cost.read_text("utf-8"))["cpu_seconds"] for cost in costs)


class Results:
    """All runs of one model, over seeds."""

    def __init__(self, folder: Path, model: str) -> None:
        self.model = model
        self.studies = sorted(folder.glob(f"{model}-*"))

    def of(self, name: str, keep: float) -> list[Measured]:
        """Return what there is of one run, a seed each."""
        run = f"{name}-{percent(keep)}"
        found = [Measured(study, run) for study in self.studies]
        return [m for m in found if (m.study / f"data/scores/{run}.json").is_file()]

    def excess(self, name: str, keep: float) -> float:
        return statistics.mean(m.excess for m in self.of(name, keep))

    def names(self, keep: float) -> list[str]:
        """Return all runs at a budget by falling quality, refined ones among them."""
        every = [*RUNS, *VARIANTS, *(f"{name}-refined" for name in RUNS)]
        return sorted(
            (n for n in every if self.of(n, keep)), key=lambda name: self.excess(name, keep)
        )


def spread(values: Iterable[float | None], form: Callable[[float], str]) -> str:
    """Mean ± standard deviation over seeds."""
    there = [value for value in values if value is not None]
    if not there:
        return "–"
    mean = form(statistics.mean(there))
    return mean if len(there) < 2 else f"{mean} ± {form(statistics.stdev(there))}"


def table(results: Results, keep: float) -> str:
    """One budget: every run, the best first."""
    dense = Measured(results.studies[0], DENSE).scores
    second = next(iter(dense.further), None)
    head = ["run", "seeds", "keep reached", "loss above dense [1e-3 nats]", "KL [1e-3 nats]"]
    head.append("perplexity")
    head += [f"perplexity, {second}"] if second else []
    head += ["zero-shot [%]", "CPU [s]"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for name in (DENSE, *results.names(keep)):
        runs = results.of(name, keep) if name != DENSE else [Measured(results.studies[0], DENSE)]
        cells = [
            f"**{name}**" if name.startswith("ours") else name,
            str(len(runs)) if name != DENSE else "–",
            f"{statistics.mean(m.scores.keep_reached for m in runs):.4f}",
            spread((1e3 * m.excess for m in runs), "{:.1f}".format),
            spread((_times(1e3, m.divergence) for m in runs), "{:.1f}".format),
            spread((m.scores.perplexity for m in runs), "{:.3f}".format),
        ]
        if second:
            cells.append(
                spread((m.scores.further[second].perplexity for m in runs), "{:.2f}".format)
            )
        averages = (_times(100, m.scores.zero_shot_average) for m in runs)
        cells.append(spread(averages, "{:.1f}".format))
        cells.append(spread((m.seconds for m in runs), "{:.1f}".format))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def claims(results: Results) -> str:
    """What was to be shown, each with its numbers."""
    lines = []
    for keep in KEEPS:
        names = results.names(keep)
        plain = [n for n in names if not n.endswith("-refined")]
        best = min((n for n in SEED_METHODS if n in names), key=lambda n: results.excess(n, keep))
        theirs, ours = results.excess(best, keep), results.excess("ours", keep)
        lines.append(
            f"- keep {keep}: loss above dense of `ours`, in closed form, {1e3 * ours:.1f}e-3; of the best seed method, "
            f"`{best}`, {1e3 * theirs:.1f}e-3: a ratio of {ours / theirs:.2f}. Best unrefined row: `{plain[0]}`; best row: `{names[0]}`."
        )
        better = [
            f"`{one}` {1e3 * results.excess(one, keep):.1f} against `{other}` {1e3 * results.excess(other, keep):.1f}"
            for one, other in [
                ("bolaco", "pca"),
                ("bolaco-tpe", "pca"),
                ("mgaa", "svd-llm"),
                ("cap", "rpca"),
                *((f"{name}-refined", name) for name in RUNS),
            ]
            if one in names and other in names
        ]
        lines.append(f"  In 1e-3 nats: {'; '.join(better)}.")
        times = [
            statistics.mean(m.seconds or 0 for m in results.of(n, keep)) for n in ("ours", "bolaco")
        ]
        if caps := results.of("cap", keep):
            thresholds, learned = policy_gradient(caps)
            lines.append(
                f"  Perplexity on search text of CAP's selection: by thresholds on sizes {thresholds:.3f}, by learned chances {learned:.3f}."
            )
        lines.append(
            f"  CPU time of decomposition and allocation: `ours` {times[0]:.0f} s, `bolaco` with 50 trials {times[1]:.0f} s."
        )
        kept = [
            f"`{name}` {shares(results.of(name, keep))}" for name in ("mgaa", "rankwise-low-rank")
        ]
        lines.append(f"  Share kept of attention and MLP, layer by layer: {'; '.join(kept)}.")
    return "\n".join(lines)


def shares(runs: list[Measured]) -> str:
    """Return what the first seed's run keeps of every sublayer: attention and MLP by layer."""
    run = runs[0]
    kept: dict[tuple[int, bool], list[int]] = {}
    for linear in AllocationRecord.load(
        run.study / f"data/allocate/{run.name}.json"
    ).linears.values():
        part = kept.setdefault((linear.layer, linear.kind in "qkvo"), [0, 0])
        part[0] += linear.parameters
        part[1] += linear.shape[0] * linear.shape[1]
    found = {key: f"{held / whole:.2f}" for key, (held, whole) in kept.items()}
    layers = sorted({layer for layer, _ in found})
    return ", ".join(f"{found[layer, True]} {found[layer, False]}" for layer in layers)


def policy_gradient(runs: list[Measured]) -> tuple[float, float]:
    """Return what CAP's selection scores on search text: by sizes alone (trial 1), the best learned one."""
    pairs = []
    for run in runs:
        rows = read_checksummed_lines(run.study / f"data/allocate/{run.name}.trials.jsonl")
        checks = [row for row in rows if row["kind"] == "check"]
        _uniform, sizes, *later = [row["perplexity"] for row in checks]
        pairs.append((sizes, min(later)))
    first, second = zip(*pairs, strict=True)
    return statistics.mean(first), statistics.mean(second)


def figure(folder: Path, path: Path) -> None:
    """Loss above dense against keep, a panel a model, bars over seeds."""
    figure, panels = plt.subplots(1, len(MODELS), figsize=(9, 3.6), layout="constrained")
    for axes, (model, title) in zip(panels, MODELS.items(), strict=True):
        results = Results(folder, model)
        for name in SHOWN:
            keeps = [keep for keep in KEEPS if results.of(name, keep)]
            found = [[m.excess for m in results.of(name, keep)] for keep in keeps]
            bars = [statistics.stdev(values) if len(values) > 1 else 0 for values in found]
            style = {"lw": 2.2} if name.startswith("ours") else {"lw": 1, "alpha": 0.8}
            means = [statistics.mean(values) for values in found]
            axes.errorbar(keeps, means, bars, fmt="o-", ms=3, capsize=2, label=name, **style)
        axes.set(title=title, xlabel="keep (parameters that remain)")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set_ylabel("loss above dense [nats/token]")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of bench/methods.py")
    folder = parser.parse_args().folder
    page = ROOT / "docs/results.md"
    for model in MODELS:
        results = Results(folder, model)
        tables = [f"Keep {keep}\n\n{table(results, keep)}" for keep in KEEPS]
        fill(page, f"methods-{model}", "\n\n".join([*tables, claims(results)]))
    figure(folder, ROOT / "docs/figures/methods.svg")


if __name__ == "__main__":
    main()
