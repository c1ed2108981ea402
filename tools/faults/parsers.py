"""Every parser of what a person or a file can hand in."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import transformers

from rankwise.allocate import allocators
from rankwise.allocate.problem import Choices, Problem, Trials, TrialScore
from rankwise.allocate.trials import read_rows, read_suggestions
from rankwise.artifacts.factors import GroupFactors
from rankwise.checkpoint.weight_files import read_header
from rankwise.commands.init import PRESETS, with_settings
from rankwise.evaluate import task_files
from rankwise.hub.checks import check_folder, checked_section, weight_files
from rankwise.inputs.empty_model import build_empty_model
from rankwise.inputs.model_config import read_model_config
from rankwise.inputs.sources import hash_files
from rankwise.inputs.texts import read_text
from rankwise.inputs.tokenizer import read_tokenizer
from rankwise.model.families import SHIPPED, read_family
from rankwise.params.compute import Compute
from rankwise.params.evaluate import Evaluate
from rankwise.params.runs import Run
from rankwise.params.section import read_method, read_section
from rankwise.records.allocation import AllocationRecord
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.records.tasks import TasksManifest
from rankwise.search.scorer import refuse_beyond
from rankwise.validation.params import load_params
from tests.allocate.problems import SEQUENCES, problem
from tests.workflow.studies import PARAMS
from tools.faults import command_lines, inputs
from tools.faults.examples import RECORDS

transformers.logging.set_verbosity_error()  # warns of every strange key


@dataclass(frozen=True)
class Parser:
    """How an input is made, and what reads it."""

    make: inputs.Make
    read: Callable[[Path], Any]
    """Given the folder of the input; accepts it, or refuses it in a sentence."""


TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: tiny.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
LINEAR = {
    "layer": 0, "kind": "q", "rank": 2, "shape": [4, 4], "parameters": 16, "relative_error": 0.1
}  # fmt: skip
ALLOCATION = {
    "schema": AllocationRecord.schema_name, "run": "r", "decompose": "svd", "allocate": "uniform",
    "parameters": {"floor": 0.1}, "keep_asked": 0.6, "keep_reached": 0.59, "parameters_reached": 100,
    "checkpoint_bytes_reached": None, "keep_index_free": 0.59, "linears": {"a": LINEAR}, "search": {},
}  # fmt: skip
MANIFEST = {
    "schema": CheckpointManifest.schema_name, "run": "r", "keep_asked": 0.6, "keep_reached": 0.5,
    "parameters": 9, "files": [{"path": "model.safetensors", "sha256": "0", "bytes": 3}],
}  # fmt: skip
RUN = {"decompose": "svd", "allocate": "uniform", "keep": 0.6, "seed": None, "origin": "dense", "way": 1.0}  # fmt: skip
METHOD = {"method": "hyperopt", "trials": 6, "q": 3, "startup": 2, "algorithm": "rand", "bounds": [0.2, 1.0]}  # fmt: skip
SEARCH = allocators["hyperopt"](trials=6, q=3, startup=2, algorithm="rand")
POINT = {f"{kind}.0": 0.5 for kind in ("qk", "v", "o", "gate", "up", "down")}
SUGGESTIONS = [{"trial": n, "shares": POINT, "sequences": [0, 2]} for n in range(3)]
ROW = {"status": "ok", "objective": 9.5, "perplexity": 9.0, "kl": 0.1, "keep_reached": 0.6}
ROWS = [{"trial": n, "shares": POINT, **ROW} for n in range(3)]
FOREIGN_LAYERS = 4
"""A configuration of more is not asked for its modules: the stage compares with params.yaml before."""


@cache
def _small() -> Problem:
    """Return a problem whose scorer looks at the sequences as `rankwise.search.scorer.SearchModel` does."""
    found = problem(1)

    def score(choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        refuse_beyond(sequences or [0], SEQUENCES)
        return found.scored(choices, sequences)

    return replace(found, score=score)


def _suggested(folder: Path) -> None:
    """Run what a round suggests, as the stage trial does."""
    for suggestion in read_suggestions(folder / "a.jsonl"):
        SEARCH.trial(_small(), suggestion)


def _tried(folder: Path) -> None:
    """Suggest the next round from rows, as the stage suggest does."""
    SEARCH.suggestions(_small(), 1, read_rows(folder / "a.jsonl"))


def _checkpoint(folder: Path) -> None:
    try:
        given = json.loads((folder / "config.json").read_bytes())
        section = given.get("rankwise") if isinstance(given, dict) else None
    except (ValueError, RecursionError):
        section = None  # check_folder reads the file by itself
    if section is not None:
        checked_section(section, {"llama"})
    check_folder(folder)


def _foreign(folder: Path) -> None:
    config, _, _ = read_model_config(folder)
    if config.num_hidden_layers <= FOREIGN_LAYERS:
        build_empty_model(config)


def _tasks(folder: Path) -> None:
    (folder / "tiny.jsonl").write_text('{"context": "w", "choices": ["a", "b"], "gold": 0}\n' * 2)
    files = hash_files(folder, ("a.yaml", "tiny.jsonl"))
    task_files.read_tasks(TasksManifest(source=str(folder), files=files), None, None)


def _number(folder: Path) -> int:
    return int((folder / "kind.txt").read_text())


PARSERS = {
    "params.yaml": Parser(
        inputs.yaml(*[PARAMS] * 9, *(path.read_text() for path in sorted(PRESETS.glob("*.yaml")))),
        lambda f: load_params(f / "a.yaml"),
    ),
    "settings on the command line (--set)": Parser(
        inputs.setting,
        lambda f: with_settings(
            "runs: {a: {keep: 0.5}}\n",
            [(f / "a.txt").read_bytes().decode("utf-8", "surrogateescape")],
        ),
    ),
    "model family": Parser(
        inputs.yaml((SHIPPED / "mixtral.yaml").read_text()), lambda f: read_family(f / "a.yaml")
    ),
    "section file evaluate": Parser(
        inputs.section(Evaluate().model_dump()), lambda f: read_section(f / "a.json", Evaluate)
    ),
    "section file compute": Parser(
        inputs.section(Compute().model_dump()), lambda f: read_section(f / "a.json", Compute)
    ),
    "section file of a run": Parser(inputs.section(RUN), lambda f: read_section(f / "a.json", Run)),
    "section file of a method": Parser(
        inputs.section(METHOD), lambda f: read_method(f / "a.json", allocators)
    ),
    "config.json of a checkpoint": Parser(inputs.checkpoint, _checkpoint),
    "config.json of a foreign model": Parser(inputs.foreign_model, _foreign),
    "tokenizer.json of a checkpoint": Parser(inputs.tokenizer, check_folder),
    "tokenizer files of a foreign model": Parser(inputs.foreign_tokenizer, read_tokenizer),
    "safetensors header": Parser(
        inputs.safetensors, lambda f: read_header(f / "model.safetensors")
    ),
    "safetensors artifact": Parser(
        inputs.safetensors, lambda f: GroupFactors.load(f / "model.safetensors")
    ),
    "head of an artifact of any kind, with a new checksum": Parser(
        inputs.sealed_artifact,
        lambda f: inputs.artifacts()[_number(f)][2](f / "a.safetensors"),
    ),
    "shard index": Parser(inputs.index, weight_files),
    "allocation record": Parser(
        inputs.record(ALLOCATION), lambda f: AllocationRecord.load(f / "a.json")
    ),
    "checkpoint manifest": Parser(
        inputs.record(MANIFEST), lambda f: CheckpointManifest.load(f / "a.json")
    ),
    "record of any kind": Parser(
        inputs.any_record, lambda f: RECORDS[_number(f)].load(f / "a.json")
    ),
    "search trace": Parser(inputs.lines(ROWS), lambda f: read_rows(f / "a.jsonl")),
    "unfinished search": Parser(
        inputs.lines(ROWS, {"fingerprint": "x"}), lambda f: Trials(f / "a.jsonl", "x").summary()
    ),
    "suggestions, read by `trial`": Parser(inputs.lines(SUGGESTIONS), _suggested),
    "rows of trials, read by `suggest`": Parser(inputs.lines(ROWS), _tried),
    "task YAML": Parser(inputs.yaml(TASK), _tasks),
    "task JSONL": Parser(
        inputs.items, lambda f: task_files.read_rows(f / "t.yaml", f / "a.jsonl", None)
    ),
    "text: plain, JSON lines, gzipped, parquet": Parser(
        inputs.text, lambda f: read_text(f / (f / "kind.txt").read_text(), "text", None)
    ),
    "command line": Parser(command_lines.put_words, command_lines.call),
}
