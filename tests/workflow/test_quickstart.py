"""The commands of docs/quickstart.md, copied, on a tiny model: a newcomer's first hour."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.workflow.studies import ROOT, Study

SMALLER = (
    "sample.calibration={corpus: train, sequences: 16, length: 8, seed: 0}",
    "sample.search={corpus: train, sequences: 4, length: 8, seed: 0}",
    "sample.test={corpus: test, length: 8, sequences: 8, seed: 0}",
    "covariance={pools: 4, batch: 4}",
    "allocate.uniform={multiple: 1, floor: 0.1}",
    "allocate.hyperopt={multiple: 1, floor: 0.1, trials: 2, seed: 0}",
    "build.worse_than_unigram=record",
    "speed={batches: [1], length: 8, new_tokens: 1, repeats: 3}",
)
"""What makes the preset fit a model of two layers and some sentences."""


def commands() -> list[str]:
    text = (ROOT / "docs/quickstart.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_command_does_what_the_page_says(finished: Study, tmp_path: Path) -> None:
    inputs = finished.folder / "inputs"
    places = {"MODEL": inputs / "model", "TRAIN": inputs / "train.txt", "TEST": inputs / "test.txt"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1"}
    folder, said = tmp_path, {}
    for line in commands():
        for word, place in places.items():
            line = line.replace(f"source={word}", f"source={place}")  # noqa: PLW2901
            line = line.replace(f"source: {word},", f"source: {place},")  # noqa: PLW2901
        words = shlex.split(line)
        if words[0] == "cd":
            folder = folder / words[1]
            continue
        if words[:2] == ["rankwise", "init"]:
            words += [part for key in SMALLER for part in ("--set", key)]
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said[words[1] if words[0] == "rankwise" else words[0]] = done.stdout
    assert "Report: data/report/index.html" in said["run"]
    assert "pca-80" in said["compare"]
    assert "prefill" in said["bench"]
    rows = json.loads((tmp_path / "study/data/report/summary.json").read_text())["rows"]
    assert [row["run"] for row in rows] == ["dense", "svd-80", "pca-80", "bolaco-80", "bolaco-60"]
