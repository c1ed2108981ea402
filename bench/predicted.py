"""Predicted against measured loss: every matrix of the model truncated alone, at several ranks.

    python bench/predicted.py [--study DIR]     after `make run`

Writes docs/figures/predicted.svg and the block `predicted` of docs/results.md: rank correlations
between what a decomposer's spectrum predicts and how much the loss on search text really rises.
"""

import argparse
import math
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rankwise"
mpl.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from document import ROOT, fill  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402
from tqdm import tqdm  # noqa: E402

from rankwise import checkpoint  # noqa: E402
from rankwise.allocate.problem import Trials  # noqa: E402
from rankwise.allocation import problem_of  # noqa: E402
from rankwise.artifacts import BlockFactors, Tokens  # noqa: E402
from rankwise.records import ModelManifest  # noqa: E402
from rankwise.search import SearchModel  # noqa: E402

METHODS = {"curvature": "predicted loss", "pooled_pca": "output error", "svd": "weight error"}
SHARES = (0.25, 0.5, 0.75)
"""Of the break-even rank [-]."""
BATCH = 16
Point = tuple[str, float, float]
"""Type of the linear, predicted, measured [nats/token]."""


def points(study: Path, method: str) -> list[Point]:
    """Truncate each linear alone and score the search text: one forward pass a point."""
    data = study / "data"
    factors = {
        name: found
        for path in sorted((data / "decompose/dense" / method).glob("*.safetensors"))
        for name, found in BlockFactors.load(path).linears.items()
    }
    model = checkpoint.load(data / "prepare/model.json").model
    search = SearchModel(model, factors, Tokens.load(data / "sample/search.safetensors").ids, BATCH)
    manifest = ModelManifest.load(data / "prepare/model.json")
    problem = problem_of(manifest, factors, search, Trials())
    dense = dict.fromkeys(problem.matrices)
    before = math.log(problem.scored(dense).perplexity)
    found = []
    for name, candidate in tqdm(problem.candidates.items(), method):
        matrix = problem.matrices[name]
        for share in SHARES:
            kept = matrix.kept(max(1, round(share * matrix.break_even)))
            after = math.log(problem.scored({**dense, name: kept}).perplexity)
            found.append((candidate.kind, candidate.loss(kept), after - before))
    return found


def draw(found: list[Point], path: Path) -> None:
    """Predicted against measured, a colour a type, with the line on which both are equal."""
    figure, axes = plt.subplots(figsize=(4.6, 4.0), layout="constrained")
    for kind in dict.fromkeys(kind for kind, _, _ in found):
        some = [(x, y) for k, x, y in found if k == kind and y > 0]
        axes.scatter(*zip(*some, strict=True), s=14, label=kind)
    ends = [min(x for _, x, _ in found), max(x for _, x, _ in found)]
    axes.plot(ends, ends, color="gray", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="predicted loss [nats/token]")
    axes.set_ylabel("measured loss above dense, search text [nats/token]")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=ROOT, help="folder of the study")
    study = parser.parse_args().study
    torch.set_num_threads(1)
    lines = ["| decomposer | its measure | truncations | rank correlation |", "|---|---|---:|---:|"]
    for method, measure in METHODS.items():
        found = points(study, method)
        correlation = spearmanr([x for _, x, _ in found], [y for _, _, y in found]).statistic
        lines.append(f"| `{method}` | {measure} | {len(found)} | {correlation:.3f} |")
        if method == "curvature":
            negative = sum(y <= 0 for _, _, y in found)
            draw(found, ROOT / "docs/figures/predicted.svg")
    lines += ["", f"{negative} of the points of `curvature` measured no rise and are not drawn."]
    fill(ROOT / "docs/results.md", "predicted", "\n".join(lines))


if __name__ == "__main__":
    main()
