"""Write the tables and figures of README and docs from recorded runs; nothing is typed by hand.

python bench/document.py                  the embedded study (run `make run` first)
python bench/document.py --wikitext DIR   the WikiText-2 study (see bench/wikitext.py)
"""

import argparse
import re
import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rankwise"
mpl.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt  # noqa: E402

from rankwise.commands.recorded import read_report_paths  # noqa: E402
from rankwise.records.scores import Scores  # noqa: E402
from rankwise.results.run import RunResult  # noqa: E402

ROOT = Path(__file__).parents[1]


def load_runs(study: Path) -> list[RunResult]:
    """The runs of a study, the dense model first."""
    with chdir(study):
        return list(read_report_paths().load_results().measured)


def table(runs: list[RunResult]) -> str:
    """The printed table as Markdown."""
    lines = [
        "| run | asked | keep reached | perplexity | zero-shot average | parameters | checkpoint MB | tokens/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        row = run.row
        average = "–" if row.zero_shot_average is None else f"{100 * row.zero_shot_average:.1f} %"
        speed = "–" if run.speed is None else f"{run.speed.tokens_per_second:,.0f}"
        lines.append(
            f"| {row.run} | {row.asked.short()} | {row.keep_reached:.4f} | {row.perplexity:.3f} | {average} "
            f"| {row.parameters:,} | {row.checkpoint_bytes / 1e6:.2f} | {speed} |"
        )
    return "\n".join(lines)


def fill(page: Path, name: str, text: str) -> None:
    """Put ``text`` between ``<!-- begin name -->`` and ``<!-- end name -->``."""
    before = page.read_text(encoding="utf-8")
    block = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    after, count = re.subn(block, lambda m: f"{m[1]}{text}\n{m[2]}", before, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page}: expected one block '{name}', found {count}")
    page.write_text(after, encoding="utf-8")


def figure(runs: list[RunResult], path: Path) -> None:
    """Perplexity and zero-shot average against keep reached, one line a method pair."""
    lines: dict[str, list[Scores]] = {}
    dense, *compressed = runs
    for run in compressed:
        label = f"{run.allocation.decompose}, {run.allocation.allocate}"
        lines.setdefault(label, []).append(run.scores)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    for label, members in lines.items():
        points = [*sorted(members, key=lambda scores: scores.keep_reached), dense.scores]
        keeps = [scores.keep_reached for scores in points]
        left.plot(keeps, [scores.perplexity for scores in points], "o-", label=label)
        averages = [scores.zero_shot_average for scores in points]
        if None not in averages:
            right.plot(keeps, [100 * value for value in averages], "o-", label=label)
    left.set(xlabel="keep (parameters that remain)", ylabel="perplexity, test text", yscale="log")
    right.set(xlabel="keep (parameters that remain)", ylabel="zero-shot average [%]")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    left.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def picture(page: Path, path: Path) -> None:
    """The first screen of the report as a headless Chromium shows it; left as it was without one."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print(f"no chromium on PATH: {path} stays as it is")
        return
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--window-size=1280,1560", "--virtual-time-budget=20000", f"--screenshot={path}"]
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--wikitext", type=Path, metavar="DIR", help="folder of the WikiText-2 study"
    )
    study = parser.parse_args().wikitext
    runs = load_runs(study or ROOT)
    if study is None:
        fill(ROOT / "README.md", "table", table(runs))
        figure(runs, ROOT / "docs/figures/embedded.svg")
        picture(ROOT / "data/report/index.html", ROOT / "docs/figures/report.png")
    else:
        fill(ROOT / "docs/results.md", "wikitext", table(runs))
        figure(runs, ROOT / "docs/figures/wikitext.svg")


if __name__ == "__main__":
    main()
