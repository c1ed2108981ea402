"""Checkpoints of several forms, opened once in a process with rankwise and once in one without."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from rankwise.checkpoint.loading import load_folder
from rankwise.commands.export import export
from tests.checkpoints import Made, made
from tests.families import ids

FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "biases": ("biases", "pooled_pca", {}),
    "sparse": ("tied", "kfac_sparse", {"multiple": 1}),
    "sparse and biased": ("llama-Qwen2ForCausalLM", "oats", {"keep": 0.6, "multiple": 1}),
    "experts": ("mixtral-MixtralForCausalLM", "svd", {}),
    "conv1d": ("gpt2-GPT2LMHeadModel", "whitened_svd", {}),
    "local and global": ("local and global", "svd", {}),
}
"""Name → form of the model, decomposer, its settings."""
SCRIPTS = Path(__file__).parent


@dataclass(frozen=True)
class Opened:
    """One checkpoint, and what two fresh processes say of it."""

    made: Made
    logits: torch.Tensor
    """Of the model opened here, flat."""
    facts: dict[str, Any]
    plain: dict[str, Any]

    def of(self, name: str) -> torch.Tensor:
        """Logits that a process found, flat."""
        return torch.tensor((self.facts | self.plain)[name])


@pytest.fixture(scope="session")
def all_opened(tmp_path_factory) -> dict[str, Opened]:
    folder = tmp_path_factory.mktemp("hub")
    written, studies = folder / "written", {}
    for name, (case, method, settings) in FORMS.items():
        one = made(folder / name.replace(" ", "_"), case, method, **settings)
        studies[name] = one
        (written / one.study.name).mkdir(parents=True)
        (one.folder.parent / "ids.json").write_text(json.dumps(ids(2, 8).tolist()))
        export(one.folder, written / one.study.name / "stock", dense=True)
    places = [str(one.folder) for one in studies.values()]
    given = os.environ | {"HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "code")}
    for script in ("with_rankwise.py", "without_rankwise.py"):
        run(script, written, places, given)
    found = {}
    for name, one in studies.items():
        model, _ = load_folder(one.folder)
        with torch.no_grad():
            logits = model(ids(2, 8)).logits.flatten()
        facts, plain = (
            json.loads((written / one.study.name / file).read_text())
            for file in ("facts.json", "plain.json")
        )
        found[name] = Opened(one, logits, facts, plain)
    return found


def run(script: str, written: Path, places: list[str], given: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), str(written), *places],
        env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(params=FORMS)
def opened(request, all_opened) -> Opened:
    return all_opened[request.param]
