"""The papers' measures on a small real-English LLaMA: three texts, seven tasks, paired intervals.

    python bench/papers.py FOLDER

One study in FOLDER/papers: the dense model and three runs at keep 0.6, everything up to the scores;
called again, only what is missing is done. Then the block `papers` of docs/results.md is written from
its records. Data are found under RANKWISE_DATA (default ../shared/data).
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from document import ROOT, fill
from methods import joined

from rankwise.evaluate.paired import pair_runs
from rankwise.files.atomic import write_if_changed
from rankwise.forkserver.launch import fork_server
from rankwise.params.names import DENSE
from rankwise.params.report import Report
from rankwise.params.sample import FURTHER
from rankwise.records.items import Items
from rankwise.records.pairs import Pair
from rankwise.records.scores import Scores
from rankwise.report.table import points, relative
from rankwise.workflow import engines

RUNS = {
    "svd-60": {"decompose": "svd", "allocate": "uniform", "keep": 0.6},
    "svd-llm-60": {"decompose": "whitened_svd", "allocate": "uniform", "keep": 0.6},
    "rankwise-60": {"decompose": "kfac_sparse", "allocate": "least_loss", "keep": 0.6},
}
TEXTS = {"test": "WikiText-2", "test-raw": "WikiText-2, raw", "test-c4": "C4"}
TASKS = {
    "boolq": "BoolQ",
    "piqa": "PIQA",
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "arc_easy": "ARC-e",
    "arc_challenge": "ARC-c",
    "openbookqa": "OpenBookQA",
}
LIMIT = 300
"""Items of each task."""
WINDOWS = 256
LENGTH = 256
"""Of the test windows: what the model was trained on; over longer ones it is much worse [tokens]."""


def settings(data: Path, folder: Path) -> list[str]:
    """The keys that differ from preset ``local``."""
    corpora = {
        "train": {"source": joined(folder, data / "wikitext-2/train.txt")},
        "test": {"source": joined(folder, data / "wikitext-2/test.txt")},
        "raw": {"source": raw(folder, data / "wikitext-2/raw/wiki.test.raw")},
        "c4": {"source": str(data / "c4/c4-sample-1000.json"), "characters": 400_000},
    }
    drawn = {"length": 256, "seed": 0}
    tested = {"length": LENGTH, "sequences": WINDOWS, "seed": 0}
    further = {name: {"corpus": name, **tested} for name in ("raw", "c4")}
    return [
        f"prepare.model={{source: {data / 'models/wiki-llama-5m'}, layers: 6}}",
        f"prepare.corpora={json.dumps(corpora)}",
        f"prepare.tasks={{source: papers, data: {data / 'zeroshot'}}}",
        f"sample.calibration={json.dumps({'corpus': 'train', 'sequences': 256, **drawn})}",
        f"sample.search={json.dumps({'corpus': 'train', 'sequences': 8, **drawn})}",
        f"sample.test={json.dumps({'corpus': 'test', **tested})}",
        f"sample.further={json.dumps(further)}",
        "decompose={svd: {}, whitened_svd: {}, kfac_sparse: {multiple: 2}}",
        "allocate={uniform: {multiple: 2}, least_loss: {multiple: 2}}",
        f"runs={json.dumps(RUNS)}",
        f"evaluate={{batch: 16, limit: {LIMIT}, divergence: true}}",
        "report.title=The papers' texts and tasks on a small real-English LLaMA",
    ]


def raw(folder: Path, text: Path) -> str:
    """Write the raw test text as papers join it: rows set apart by a blank line, blank rows empty."""
    rows = text.read_text("utf-8").splitlines(keepends=True)
    path = folder / "wiki.test.raw.txt"
    write_if_changed(path, "\n\n".join("" if row == " \n" else row for row in rows))
    return str(path)


def measure(folder: Path) -> None:
    """Make the study where it is not there, and bring it up to the scores."""
    data = Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve()
    if not folder.exists():
        options = [w for key in settings(data, folder.parent) for w in ("--set", key)]
        command = [sys.executable, "-m", "rankwise", "init", str(folder), "--preset", "local"]
        subprocess.run([*command, *options], check=True)
    wanted = [f"data/scores/{name}.json" for name in (DENSE, *RUNS)]
    environment = engines.environment()
    with chdir(folder), fork_server(environment) as variables:
        command = [*engines.SNAKEMAKE, *wanted, "--quiet", "all"]
        subprocess.run(command, env=environment | variables, check=True)


def tables(folder: Path) -> str:
    """Perplexity and accuracy of every run, each with its difference from the dense model."""
    data = folder / "data"
    scores = {name: Scores.load(data / f"scores/{name}.json") for name in (DENSE, *RUNS)}
    items = {name: Items.load(data / f"items/{name}.json") for name in scores}
    pairs = {name: pair_runs(items[name], items[DENSE], Report()) for name in RUNS}
    heads = ["run", *TEXTS.values(), "KL [1e-3 nats]", "same likeliest token"]
    texts = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for name, score in scores.items():
        values = {"test": score, **{f"{FURTHER}{k}": v for k, v in score.further.items()}}
        cells = [_perplexity(values[role].perplexity, pairs.get(name), role) for role in TEXTS]
        beside = ["–", "–"]
        if name != DENSE and score.kl is not None and score.agreement is not None:
            beside = [f"{1e3 * score.kl:.1f}", f"{100 * score.agreement:.1f} %"]
        texts.append(_line([name, *cells, *beside]))
    heads = ["task", "items", *scores]
    tasks = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for task, title in TASKS.items():
        cells = [_task(scores[name], pairs.get(name), task) for name in scores]
        tasks.append(_line([title, str(scores[DENSE].zero_shot[task].items), *cells]))
    tasks.append(_line(["average", "", *(_average(scores[n], pairs.get(n)) for n in scores)]))
    return "\n".join([*texts, "", *tasks])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _perplexity(value: float, found: Pair | None, role: str) -> str:
    return f"{value:.2f}" + (f", {relative(found.losses[role])[0]}" if found else "")


def _task(score: Scores, found: Pair | None, task: str) -> str:
    one = score.zero_shot[task]
    if found is None:
        return f"{100 * one.acc:.1f} ± {100 * one.acc_stderr:.1f}"
    against = found.tasks[task]
    return f"{100 * one.acc:.1f}, {points(against.acc)[0]}, p {against.p:.2g}"


def _average(score: Scores, found: Pair | None) -> str:
    value = f"**{100 * (score.zero_shot_average or 0):.1f}**"
    return value + (f", {points(found.average)[0]}" if found and found.average else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve() / "papers"
    measure(folder)
    fill(ROOT / "docs/results.md", "papers", tables(folder))


if __name__ == "__main__":
    main()
