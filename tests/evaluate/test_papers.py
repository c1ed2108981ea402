"""The papers' seven tasks: what is asked of local items is what lm-eval's own tasks ask of the same."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from lm_eval import evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from rankwise.embedded.files import MODEL
from rankwise.errors import RankwiseError
from rankwise.evaluate.official import installed_task_files
from rankwise.evaluate.task_files import read_tasks
from rankwise.evaluate.zero_shot import zero_shot
from rankwise.files.atomic import write_json
from rankwise.inputs.sources import items_folder
from rankwise.records.tasks import TasksManifest
from rankwise.stages import prepare_tasks

OFFICIAL = {
    "boolq": "super_glue/boolq/default.yaml",
    "piqa": "piqa/piqa.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}
FILES = {
    "boolq": "boolq_validation.jsonl",
    "piqa": "piqa_validation.jsonl",
    "hellaswag": "hellaswag_validation_1000.jsonl",
    "winogrande": "winogrande_xl_validation.jsonl",
    "arc_easy": "arc_easy_validation.jsonl",
    "arc_challenge": "arc_challenge_validation.jsonl",
    "openbookqa": "openbookqa_main_validation.jsonl",
}
CHOICES = {"text": ["a dog", "the sun", "wood", "a small town"], "label": ["A", "B", "C", "D"]}
QUESTION = {"id": "q", "question": "What is warm?", "choices": CHOICES, "answerKey": "B"}
STEM = {"id": "s", "question_stem": "A house is made of", "choices": CHOICES, "answerKey": " C"}
VIDEO = {
    "ind": 4,
    "activity_label": "Making tea",
    "ctx_a": "[header] How to make tea [title] Boil water.  [step] Pour it.",
    "ctx_b": "then they",
    "ctx": "",
    "endings": ["wait [substeps] a while.", "drink  it.", "go home.", "sing."],
    "label": 1,
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "boolq": [
        {"question": "is the sun warm", "answer": True, "passage": "The sun is a star."},
        {"question": "is wood a dog", "answer": False, "passage": "Wood comes from trees."},
    ],
    "piqa": [
        {"goal": "How do I open a door?", "sol1": "Push it.", "sol2": "Eat it.", "label": 0},
        {"goal": "dresser", "sol1": "sing ", "sol2": "wood,  a finish", "label": 1},
    ],
    "hellaswag": [VIDEO, VIDEO | {"label": 3, "ctx_b": ""}],
    "winogrande": [
        {"sentence": "Ann saw Eve so _ ran.", "option1": "Ann", "option2": "Eve", "answer": "2"},
        {"sentence": "The cat and the dog; the _ sat.", "option1": "cat", "option2": "dog", "answer": "1"},
    ],
    "arc_easy": [QUESTION, QUESTION | {"answerKey": "D"}],
    "arc_challenge": [
        QUESTION | {"choices": {"text": ["one", "two", "three"], "label": ["1", "2", "3"]}, "answerKey": "3"},
        QUESTION,
    ],
    "openbookqa": [STEM, STEM | {"answerKey": "A"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def harness() -> Any:
    """The embedded model, which knows more words than a random one."""
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    return HFLM(
        pretrained=model, tokenizer=AutoTokenizer.from_pretrained(MODEL), batch_size=4,
        max_length=model.config.max_position_embeddings,
    )  # fmt: skip


def manifest(folder: Path) -> TasksManifest:
    """What the prepare stage says of the seven over a folder of items."""
    section, out = folder / "section.json", folder / "tasks.json"
    write_json(section, {"source": "papers", "data": str(folder)})
    prepare_tasks.command(section, out)
    return TasksManifest.load(out)


def write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    for name, items in rows.items():
        (folder / FILES[name]).write_text("".join(json.dumps(item) + "\n" for item in items))


def official(name: str, rows: list[dict[str, Any]]) -> Any:
    """lm-eval's own task with its data set put in; BoolQ's answer is SuperGLUE's label."""
    if name == "boolq":
        rows = [row | {"label": 1 if row["answer"] else 0} for row in rows]
    items = Dataset.from_list(rows)
    config = load_yaml(installed_task_files() / OFFICIAL[name])
    splits = {"train": items, "validation": items, "test": items}
    return ConfigurableTask(config=config | {"custom_dataset": lambda **_: splits})


def compare(folder: Path, rows: dict[str, list[dict[str, Any]]], harness: Any) -> None:
    tasks = read_tasks(manifest(folder), None, None)
    assert {task.name for task in tasks} == set(OFFICIAL)
    theirs = {name: official(name, rows[name]) for name in OFFICIAL}
    whole = evaluate(harness, {"tasks": theirs}, bootstrap_iters=1, log_samples=True)
    ours = zero_shot(harness.model, harness.tokenizer, tasks, 4)
    for name, result in ours.items():
        samples = sorted(whole["samples"][name], key=lambda sample: sample["doc_id"])
        assert result.items.acc == [sample["acc"] == 1 for sample in samples]
        found = whole["results"][name]
        for metric in ("acc", "acc_norm"):
            if f"{metric},none" in found:
                score = result.score.model_dump()
                assert score[metric] == float(found[f"{metric},none"])
                assert score[f"{metric}_stderr"] == pytest.approx(
                    found[f"{metric}_stderr,none"], rel=1e-12
                )
        assert ("acc_norm,none" in found) == (result.score.acc_norm is not None)


def asked(task: Any) -> list[Any]:
    task.build_all_requests()
    return [(request.doc_id, request.idx, request.arguments) for request in task.instances]


@pytest.mark.parametrize("name", OFFICIAL)
def test_requests_and_hashes_are_those_of_the_official_task(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankwise.evaluate.zero_shot import _build_task

    write(tmp_path, {name: ROWS[name]})
    [task] = read_tasks(manifest(tmp_path), [name], None)
    ours, theirs = _build_task(task), official(name, ROWS[name])
    assert asked(ours) == asked(theirs)
    assert [dict(doc) for doc in ours.eval_docs] == [dict(doc) for doc in theirs.eval_docs]
    assert ours.dump_config()["metric_list"] == theirs.dump_config()["metric_list"]


def test_metrics_are_those_of_the_official_tasks(tmp_path: Path, harness: Any) -> None:
    write(tmp_path, ROWS)
    compare(tmp_path, ROWS, harness)


@pytest.mark.shared
def test_metrics_on_real_items(shared_data: Path, tmp_path: Path, harness: Any) -> None:
    rows = {}
    for name, file in FILES.items():
        with (shared_data / "zeroshot" / file).open() as lines:
            rows[name] = [json.loads(line) for line in islice(lines, 8)]
    write(tmp_path, rows)
    compare(tmp_path, rows, harness)


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"piqa": ROWS["piqa"]})
    given = manifest(tmp_path)
    assert [task.name for task in read_tasks(given, ["piqa"], None)] == ["piqa"]
    with pytest.raises(
        RankwiseError, match=r"boolq\.yaml: expected one data file .*boolq_\*.jsonl, found none"
    ):
        read_tasks(given, ["piqa", "boolq"], None)
    (tmp_path / "piqa_test.jsonl").write_text("")
    with pytest.raises(RankwiseError, match=r"found piqa_test\.jsonl, piqa_validation\.jsonl"):
        read_tasks(given, ["piqa"], None)
    with pytest.raises(RankwiseError, match=r"prepare\.tasks\.data: is null"):
        items_folder("papers", None)
    with pytest.raises(RankwiseError, match=r"prepare\.tasks\.data: folder 'no' does not exist"):
        items_folder("papers", "no")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("winogrande", {"answer": "3"}, r"item 2 of winogrande_xl_validation\.jsonl: KeyError"),
        ("arc_easy", {"answerKey": "E"}, "item 2 of arc_easy_validation"),
        ("piqa", {"label": 2}, "item 2 of piqa_validation.jsonl: the answer is 2, but there are 2"),
    ],
)
def test_an_answer_out_of_range_is_named(
    tmp_path: Path, name: str, change: dict[str, Any], message: str, harness: Any
) -> None:
    first, second = ROWS[name]
    write(tmp_path, {name: [first, second | change]})
    tasks = read_tasks(manifest(tmp_path), [name], None)
    with pytest.raises(RankwiseError, match=message):
        zero_shot(harness.model, harness.tokenizer, tasks, 4)
