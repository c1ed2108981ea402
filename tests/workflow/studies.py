"""Tiny studies that carry their own copy of the package, and what the engines say about them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankwise.commands.init import DVC_IGNORED, DVC_SETTINGS, with_settings
from rankwise.workflow.dvc_yaml import outputs_of, read_stages
from tests.conftest import tiny_llama

ROOT = Path(__file__).parents[2]
HEAVY = ("model", "text", "tasks")
"""Folders of the embedded model, which the tiny studies do not use."""
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
WORDS = [f"w{number}" for number in range(63)]
PARAMS = """\
prepare:
  model: {source: inputs/model, layers: 2}
  corpora:
    train: {source: inputs/train.txt}
    test: {source: inputs/test.txt}
  tasks: {source: inputs/tasks}
sample:
  calibration: {corpus: train, sequences: 8, length: 16, seed: 0}
  search: {corpus: train, sequences: 4, length: 16, seed: 0}
  test: {corpus: test, sequences: 8, length: 16}
covariance: {pools: 2, batch: 4}
fisher: {batch: 4}
decompose:
  svd: {}
  pooled_pca: {dense: [v]}
  kfac: {}
allocate:
  uniform: {multiple: 1, floor: 0.1}
  hyperopt: {multiple: 1, floor: 0.1, trials: 2, seed: 0}
refine:
  blockwise: {epochs: 1, batch: 2}
runs:
  plain: {decompose: svd, allocate: uniform, keep: 0.6}
  searched: {decompose: pooled_pca, allocate: hyperopt, keep: 0.6}
  ours: {decompose: kfac, allocate: uniform, keep: 0.6, steps: 2}
  trained: {refine: blockwise, of: plain}
evaluate: {batch: 8}
build: {worse_than_unigram: record}
speed: {batches: [1], length: 8, new_tokens: 1, repeats: 3}
report: {title: tiny}
track: {experiment: tiny}
compute: {device: cpu, threads: 1, layers_per_job: 1}
"""
WRITERS = {"code", "params"}
"""Stages that write fingerprints and sections."""
IN_GIT = (
    "data/scores/*.json",
    "data/allocate/*.json",
    "data/report/summary.json",
    "data/code/*.json",
)
"""Artifacts that Git tracks, not DVC."""
FEWER = (
    "runs={plain: {decompose: svd, allocate: uniform, keep: 0.6},"
    " searched: {decompose: pooled_pca, allocate: hyperopt, keep: 0.6}}",
    "compute.layers_per_job=2",
)
"""Half of the jobs: what DVC needs for one grows with how many there are."""


@dataclass(frozen=True)
class Study:
    """A study's folder, and the engines as a user would call them in it."""

    folder: Path

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of this environment in the study, with the study's copy of the package."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "package"),
            "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        }  # fmt: skip
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=pipe, stderr=pipe
        )

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*command)
        out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def do(self, *command: str) -> str:
        """Run a command that must succeed; return all that it says."""
        done = self.call(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def copy(self, folder: Path) -> "Study":
        """Return a copy with the same file times, which is what Snakemake goes by."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Study(folder)

    def change(self, *settings: str) -> None:
        """Change keys of params.yaml."""
        params = self.folder / "params.yaml"
        params.write_text(with_settings(params.read_text(), list(settings)))

    def print_dvc(self) -> None:
        """Bring sections, fingerprints and dvc.yaml up to date."""
        self.do("python", "-m", "rankwise", "sync")

    def stages(self) -> dict[str, dict]:
        """Return the stages of dvc.yaml, those of templates by the names that DVC gives them."""
        return read_stages(self.folder / "dvc.yaml")

    def snakemake_would_run(self) -> set[str]:
        """Return the jobs of a dry run, named as DVC's stages."""
        said = self.do("snakemake", "--dry-run", "--quiet", "host")
        if "Nothing to be done" in said:
            return set()
        made = {out: name for name, stage in self.stages().items() for out in outputs_of(stage)}
        outputs = re.findall(r"^    output: (.*)$", said, re.MULTILINE)
        assert outputs, said
        return {made.get(line.split(", ")[0], line) for line in outputs}

    def dvc_would_run(self) -> set[str]:
        """Return the stages that DVC finds changed and all that depend on them.

        What only reads sections and fingerprints follows its own ones, not the stages that write them.
        """
        stages = self.stages()
        due = set(json.loads(self.do("dvc", "status", "--json")))
        while True:
            remade = {out for name in due - WRITERS for out in outputs_of(stages[name])}
            more = {name for name, stage in stages.items() if remade & set(stage["deps"])}
            if more <= due:
                return due
            due |= more

    def hashes(self) -> dict[str, str]:
        """Return path → digest of every artifact that holds no time."""
        from rankwise.files.checksummed import sha256

        measured = ("params", "code", "speed", "track", "mlflow", "work")
        data = self.folder / "data"
        paths = [path for path in data.rglob("*") if path.is_file() and path.name[0] != "."]
        names = {path.relative_to(data): path for path in sorted(paths)}
        return {
            str(name): sha256(path)
            for name, path in names.items()
            if name.parts[0] not in measured and name.name != "index.html"
        }


def named(patterns: str, stages: set[str]) -> set[str]:
    """Return the stages that shell patterns name; every pattern must name one."""
    found = set()
    for pattern in patterns.split():
        hits = {name for name in stages if fnmatch(name, pattern)}
        assert hits, f"no stage is named {pattern}"
        found |= hits
    return found


def copy_package(folder: Path, ignore: Callable[[str, list[str]], set[str]] | None = None) -> Path:
    """Give a study its own copy of the package, laid out as in the wheel; return where."""
    package = folder / "package/rankwise"
    shutil.copytree(ROOT / "src/rankwise", package, ignore=ignore)
    shutil.copytree(ROOT / "workflow", package / "_workflow")
    shutil.copy(ROOT / "Snakefile", package / "_workflow")
    return package


def _without_the_embedded_model(folder: str, names: list[str]) -> set[str]:
    """Tell `shutil.copytree` what to leave out."""
    heavy = HEAVY if Path(folder).name == "embedded" else ()
    return {name for name in names if name in heavy or name == "__pycache__"}


def make_study(folder: Path, *, quick: bool, settings: Sequence[str] = ()) -> Study:
    """Write a study with a random model, a few sentences and one task; ``quick`` fakes its stages."""
    study = Study(folder)
    package = copy_package(folder, _without_the_embedded_model)
    if quick:
        (package / "__main__.py").rename(package / "real_main.py")
        shutil.copy(Path(__file__).with_name("quick_stages.py"), package / "__main__.py")
    _write_inputs(folder / "inputs")
    (folder / "params.yaml").write_text(with_settings(PARAMS, list(settings)))
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copytree(ROOT / "workflow/profiles", folder / "profiles")
    (folder / ".dvcignore").write_text(DVC_IGNORED)
    study.do("dvc", "init", "--quiet", "--no-scm")
    for key, value in DVC_SETTINGS.items():
        study.do("dvc", "config", key, value)
    return study


def make_tokenizer(folder: Path) -> None:
    """Write a tokenizer of a word a token."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
    fast.save_pretrained(folder)


def _write_inputs(folder: Path) -> None:
    make_tokenizer(folder / "model")
    tiny_llama().save_pretrained(folder / "model")
    for name, step in (("train", 5), ("test", 7)):
        text = [WORDS[(number * step + number // 63) % 63] for number in range(1500)]
        lines = [" ".join(text[start : start + 30]) for start in range(0, len(text), 30)]
        (folder / f"{name}.txt").write_text("\n\n".join(lines) + "\n")
    tasks = folder / "tasks"
    tasks.mkdir()
    items = [
        {"context": f"w{number} w{number + 1}", "choices": ["w3", "w4"], "gold": number % 2}
        for number in range(6)
    ]
    (tasks / "tiny.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    shutil.copy(ROOT / "src/rankwise/embedded/tasks/world_arc.yaml", tasks / "tiny.yaml")
    text = (tasks / "tiny.yaml").read_text().replace("world_arc", "tiny")
    (tasks / "tiny.yaml").write_text(text)
