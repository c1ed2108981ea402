"""What went in, and how to make it again: the page alone gives the same study."""

import html
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rankwise.commands.init import PRESETS
from rankwise.files.atomic import write_json
from rankwise.files.yamls import read_yaml
from rankwise.model.families import families
from rankwise.records.base import FileHash
from rankwise.records.corpora import CorporaManifest, CorpusManifest
from rankwise.records.model import ModelManifest
from rankwise.records.tasks import TasksManifest
from rankwise.report.again import join_versions, print_params
from rankwise.report.inputs import describe_inputs
from rankwise.results.files import InputManifests, StudyFiles, expand_braces
from rankwise.validation.params import effective_sections, load_params
from tests.report.results import report, results_of

ROOT = Path(__file__).parents[2]
SWEPT = """\
prepare:
  model: {source: models/mine, layers: 3, dtype: bfloat16}
  corpora: {train: {source: train.jsonl, field: body}, test: {source: test.txt}, more: {source: more.txt}}
  tasks: {source: null}
sample:
  calibration: {corpus: train, sequences: 8, length: 16, seed: 3}
  search: {corpus: train, sequences: 4, length: 16}
  test: {corpus: test, length: 16}
  further: {more-text: {corpus: more, length: 16}}
covariance: {pools: 2}
decompose: {plain: {method: svd, dense: [o]}, pooled_pca: {}, svd: {}}
allocate: {uniform: {}, hyperopt: {trials: 3}}
refine: {blockwise: {epochs: 2}}
runs:
  plain: {decompose: plain, allocate: uniform, keep: [0.8, 0.5]}
  found: {decompose: pooled_pca, allocate: hyperopt, total_params: 900000, seed: [0, 1]}
  stepped: {decompose: plain, allocate: uniform, keep: 0.6, steps: 2}
  tuned: {refine: blockwise, of: plain}
evaluate: {prompts: ["Once: a 'time' # upon", "two\\nlines", "</code><script>alert(1)</script>"]}
report: {title: "A: <b>title</b>", confidence: 0.9}
compute: {layers_per_job: 3}
"""


def told(page: str) -> str:
    """Return the params.yaml that a page shows."""
    [found] = re.findall(r'<code id="params">(.*?)</code>', page, re.DOTALL)
    return html.unescape(found)


def given_again(text: str, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return effective_sections(load_params(folder / "params.yaml"))


def cut(text: str, folder: Path) -> dict[str, Any]:
    """Return the sections of a study, those of tracking left out: they make nothing."""
    return {k: v for k, v in given_again(text, folder).items() if k != "track"}


@pytest.mark.parametrize("preset", [*sorted(path.stem for path in PRESETS.glob("*.yaml")), "swept"])
def test_the_text_gives_the_same_sections(preset: str, tmp_path: Path) -> None:
    text = SWEPT if preset == "swept" else (PRESETS / f"{preset}.yaml").read_text()
    given = cut(text, tmp_path / "given")
    again = print_params(given)
    assert again is not None
    assert cut(again, tmp_path / "again") == given


def test_the_rule_hands_over_all_that_the_runs_depend_on(tmp_path: Path) -> None:
    """The sections that the report's command names are enough for the shipped study's runs."""
    whole = effective_sections(load_params(ROOT / "params.yaml"))
    command = shlex.split(read_yaml(ROOT / "dvc.yaml")["stages"]["report"]["cmd"])
    patterns = [Path(path) for option, path in pairwise(command) if option == "--section"]
    named = [path.stem for path in expand_braces(patterns)]
    # What a run without steps expands to is known from the section runs.
    assert set(whole) - set(named) == {"track", *(f"runs.{run['name']}" for run in whole["runs"])}
    again = print_params({name: whole[name] for name in named})
    assert again is not None
    assert cut(again, tmp_path) == {k: v for k, v in whole.items() if k != "track"}
    assert {"--model", "--corpora", "--tasks"} <= set(command)


def test_sections_that_are_not_a_whole_study_give_no_text() -> None:
    assert print_params({"sample.test": {"corpus": "test"}}) is None


def test_versions_that_differ_are_all_named(study: Path) -> None:
    dense, run, *_ = results_of(study)
    newer = {"torch": "2.14.0", "rankwise": "0.1.0"}
    other = replace(run, scores=run.scores.model_copy(update={"versions": newer}))
    assert join_versions([dense, other]) == {"rankwise": "0.1.0", "torch": "2.13.0 and 2.14.0"}


def manifests(folder: Path) -> StudyFiles:
    """A model of the Hub, a text that ships and one of the Hub, tasks with items elsewhere."""
    ModelManifest(
        source="owner/<model>",
        revision="d" * 40,
        dtype="bfloat16",
        architecture="LlamaForCausalLM",
        family=families()["llama"],
        layers=32,
        parameters=6_738_415_616,
        files=[FileHash(path="model.safetensors", sha256="c3" * 32, bytes=13_476_831_232)],
    ).save(folder / "model.json")
    shipped = {"revision": None, "file": None, "field": "text", "characters": None}
    hub = {"revision": "c" * 40, "file": "en/part.json.gz", "field": "body", "characters": 5000}
    CorporaManifest(
        corpora={
            "train": CorpusManifest(
                source="embedded/train.txt", sha256="a1", bytes=1234, **shipped
            ),
            "web": CorpusManifest(source="owner/web", sha256="b2", bytes=99, **hub),
        }
    ).save(folder / "corpora.json")
    items = [FileHash(path="piqa.jsonl", sha256="f6", bytes=7)]
    files = [FileHash(path="piqa.yaml", sha256="e5", bytes=3)]
    TasksManifest(source="papers", files=files, data="my/<items>", data_files=items).save(
        folder / "tasks.json"
    )
    return StudyFiles(
        [],
        model=folder / "model.json",
        corpora=folder / "corpora.json",
        tasks=folder / "tasks.json",
    )


def test_what_went_in_is_what_the_manifests_say(tmp_path: Path) -> None:
    given = {
        "sample.calibration": {"corpus": "train", "sequences": 8, "length": 16, "seed": 3},
        "sample.test-web": {"corpus": "web", "sequences": None, "length": 32, "seed": 0},
    }
    model, train, web, tasks = describe_inputs(InputManifests.load(manifests(tmp_path)), given)
    assert model.facts == {
        "source": "owner/<model> on the Hugging Face Hub",
        "commit": "d" * 40,
        "architecture": "LlamaForCausalLM, 32 decoder layers",
        "parameters": "6,738,415,616, loaded and run in bfloat16",
    }
    assert train.facts == {
        "source": "embedded/train.txt (comes with rankwise)",
        "for calibration": "8 windows of 16 tokens, seed 3",
        "bytes": "1,234, sha256 a1",
    }
    assert web.facts == {
        "source": "owner/web on the Hugging Face Hub",
        "commit": "c" * 40,
        "file": "en/part.json.gz",
        "field": "body",
        "characters": "the first 5,000",
        "for test-web": "all windows of 32 tokens, in order",
        "bytes": "99, sha256 b2",
    }
    assert tasks.facts == {"source": "papers (comes with rankwise)", "items": "my/<items>"}
    assert [file.path for file in tasks.files] == ["piqa.yaml", "piqa.jsonl"]


def test_the_page_says_what_went_in_and_how_to_make_it_again(
    study: Path, arguments: list[str], tmp_path: Path
) -> None:
    files, given = manifests(tmp_path), cut(SWEPT, tmp_path / "given")
    for name, section in given.items():
        write_json(tmp_path / f"sections/{name}.json", section)
        arguments += ["--section", f"{tmp_path}/sections/{name}.json"]
    for kind in ("model", "corpora", "tasks"):
        arguments += [f"--{kind}", str(getattr(files, kind))]
    report(arguments)
    page = (study / "report/index.html").read_text()
    assert cut(told(page), tmp_path / "again") == given
    assert "<script>alert" not in page
    assert "owner/&lt;model&gt; on the Hugging Face Hub" in page
    assert "13,476,831,232 bytes, sha256 " + "c3" * 32 in page
    assert "my/&lt;items&gt;" in page
    assert "rankwise 0.1.0, torch 2.13.0" in page


def test_a_page_of_records_alone_has_neither(study: Path, arguments: list[str]) -> None:
    report(arguments)
    page = (study / "report/index.html").read_text()
    assert 'id="inputs"' not in page
    assert 'id="again"' not in page
