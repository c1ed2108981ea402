"""Make and run a study of one's own: a small real-English LLaMA on WikiText-2.

    python bench/wikitext.py STUDY [--reduced]

Data are found under RANKWISE_DATA (default ../shared/data): the model folder
``models/wiki-llama-5m`` and WikiText-2 as ``wikitext-2/train.txt`` (calibration and search, disjoint
windows) and ``wikitext-2/raw/wiki.test.raw`` (test).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = {
    "svd": ("svd", "uniform"),
    "pca": ("pooled_pca", "uniform"),
    "bolaco": ("pooled_pca", "hyperopt"),
}
FULL = {
    "methods": ("svd", "pca", "bolaco"),
    "keeps": (0.8, 0.6),
    "sequences": 256,
    "search": 64,
    "characters": 4_000_000,
    "trials": 20,
    "test": "null",
}
REDUCED = {
    "methods": ("svd", "bolaco"),
    "keeps": (0.6,),
    "sequences": 16,
    "search": 8,
    "characters": 200_000,
    "trials": 3,
    "test": 16,
}


def settings(data: Path, size: dict[str, Any]) -> list[str]:
    """The keys that differ from preset ``local``."""
    window = "length: 256, seed: 0"
    runs = {
        f"{name}-{round(100 * keep)}": dict(
            zip(("decompose", "allocate"), METHODS[name], strict=True), keep=keep
        )
        for keep in size["keeps"]
        for name in size["methods"]
    }
    train = f"{{source: {data / 'wikitext-2/train.txt'}, characters: {size['characters']}}}"
    return [
        f"prepare.model={{source: {data / 'models/wiki-llama-5m'}, layers: 6}}",
        f"prepare.corpora={{train: {train}, test: {{source: {data / 'wikitext-2/raw/wiki.test.raw'}}}}}",
        "prepare.tasks={source: null}",
        f"sample.calibration={{corpus: train, sequences: {size['sequences']}, {window}}}",
        f"sample.search={{corpus: train, sequences: {size['search']}, {window}}}",
        f"sample.test={{corpus: test, length: 256, sequences: {size['test']}}}",
        "decompose={svd: {}, pooled_pca: {dense: [v]}}",
        f"allocate={{uniform: {{multiple: 2}}, hyperopt: {{multiple: 2, trials: {size['trials']}, seed: 0}}}}",
        f"runs={json.dumps(runs)}",
        "report.title=A small real-English LLaMA on WikiText-2",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="new folder")
    parser.add_argument(
        "--reduced", action="store_true", help="seconds instead of minutes; no result"
    )
    given = parser.parse_args()
    data = Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve()
    size = REDUCED if given.reduced else FULL
    options = [word for setting in settings(data, size) for word in ("--set", setting)]
    rankwise = [sys.executable, "-m", "rankwise"]
    subprocess.run([*rankwise, "init", str(given.study), "--preset", "local", *options], check=True)
    subprocess.run([*rankwise, "run"], cwd=given.study, check=True)


if __name__ == "__main__":
    main()
