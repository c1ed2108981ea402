"""Zero-shot accuracy against log-likelihoods computed by hand, and task files that are refused."""

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rankwise.errors import RankwiseError
from rankwise.evaluate.task_files import read_tasks
from rankwise.evaluate.zero_shot import mean_and_error, zero_shot
from rankwise.records.tasks import TasksManifest
from tests.evaluate.conftest import ROWS, TASK, manifest


def by_hand(model: Any, tokenizer: Any, item: dict[str, Any]) -> list[float]:
    """Log-likelihood of each choice, appended to the context after a blank."""
    found = []
    for choice in item["choices"]:
        context = tokenizer(item["context"])["input_ids"]
        ids = tokenizer(f"{item['context']} {choice}")["input_ids"]
        with torch.no_grad():
            logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        found.append(sum(float(logs[i - 1, ids[i]]) for i in range(len(context), len(ids))))
    return found


def test_equals_log_likelihoods_by_hand(
    model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    acc, acc_norm = [], []
    items = [json.loads(line) for line in ROWS.splitlines()]
    for number, item in enumerate(items):
        likelihoods = by_hand(model, tokenizer, item)
        wanted = max if number < 3 else min  # three right, one wrong
        item["gold"] = likelihoods.index(wanted(likelihoods))
        normed = [
            value / len(choice) for value, choice in zip(likelihoods, item["choices"], strict=True)
        ]
        acc.append(likelihoods.index(max(likelihoods)) == item["gold"])
        acc_norm.append(normed.index(max(normed)) == item["gold"])
    (folder / "tiny.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    [task] = read_tasks(manifest(folder), None, None)
    result = zero_shot(model, tokenizer, [task], 3)["tiny"]
    assert result.items.acc == acc == [True, True, True, False]
    assert result.items.acc_norm == acc_norm
    assert result.score.acc == sum(acc) / 4
    assert result.score.acc_norm == sum(acc_norm) / 4
    assert acc_norm != acc  # or the test would say little of it
    assert result.score.acc_stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    assert (result.score.items, result.score.chance) == (4, pytest.approx(1 / 3))
    assert zero_shot(model, tokenizer, [task], 1)["tiny"] == result


def test_no_tasks_no_results(model: Any, tokenizer: Any) -> None:
    assert read_tasks(TasksManifest(source=None, files=[]), None, None) == []
    assert zero_shot(model, tokenizer, [], 4) == {}
    with pytest.raises(RankwiseError, match=r"evaluate\.tasks: tiny asked, but .* null"):
        read_tasks(TasksManifest(source=None, files=[]), ["tiny"], None)


def test_names_and_limit(folder: Path) -> None:
    (folder / "other.yaml").write_text(TASK.replace("task: tiny", "task: other"))
    assert [task.name for task in read_tasks(manifest(folder), None, None)] == ["other", "tiny"]
    [task] = read_tasks(manifest(folder), ["tiny"], 2)
    assert len(task.rows) == 2
    with pytest.raises(RankwiseError, match=r"'tinny' is not in .*did you mean 'tiny'\?"):
        read_tasks(manifest(folder), ["tinny"], None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doc_to_text: !function utils.text", "!function, which is Python code"),
        ("doc_to_text: !!python/name:os.system", "is not plain YAML"),
        ("process_docs: utils.run", "key 'process_docs' is not supported"),
        ("include: /etc/passwd", "include must name a task file of the installed lm-eval"),
        ("include: tiny.yaml", "include must name a task file of the installed lm-eval"),
        ("include: lm_eval/tasks/../utils.yaml", "include must name a task file"),
        ("include: lm_eval/tasks/hellaswag/utils.py", "include must name a task file"),
        ("include: lm_eval/tasks/piqa/pika.yaml", "include must name a task file"),
        ("include: [lm_eval/tasks/piqa/piqa.yaml]", "include must name a task file"),
        ("class: utils.Task", "key 'class' is not supported"),
        (
            "output_type: generate_until",
            "output_type must be 'multiple_choice', found 'generate_until'",
        ),
        ("dataset_path: super_glue", "dataset_path must be 'json', found 'super_glue'"),
        ("num_fewshot: 5", "num_fewshot must be 0, found 5"),
        ("metric_list: [{metric: f1}]", "metric_list must hold acc"),
        (
            "dataset_kwargs: {data_files: {train: a.jsonl}}",
            "must name the JSON lines of split 'test'",
        ),
        (
            "dataset_kwargs: {data_files: {test: ../a.jsonl}}",
            "is not a path below",
        ),
        (
            "dataset_kwargs: {data_files: {test: a.jsonl}}",
            "expected one data file .*a.jsonl, found none",
        ),
        ("dataset_kwargs: {data_files: {test: '*'}}", r"found tiny\.jsonl, tiny\.yaml"),
        ("columns: {label: answer}", "item 1 has no column 'answer'"),
        ("task: <img src=x onerror=alert(1)>", "a task is named by letters, digits"),
        ("task: '[/red] | `x`'", "a task is named by letters, digits"),
        ("task: ''", "a task is named by letters, digits"),
    ],
)
def test_task_file_is_refused(folder: Path, line: str, message: str) -> None:
    key = line.partition(":")[0]
    kept = "".join(f"{old}\n" for old in TASK.splitlines() if not old.startswith(f"{key}:"))
    (folder / "tiny.yaml").write_text(kept + line + "\n")
    with pytest.raises(RankwiseError, match=message):
        read_tasks(manifest(folder), None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            '{"context": "the", "choices": ["cat", "dog"], "gold": 2}',
            "item 5 of tiny.jsonl: the answer is 2, but there are 2",
        ),
        (
            '{"context": "the", "choices": ["cat", "dog"], "gold": -1}',
            "item 5 of tiny.jsonl: the answer is -1",
        ),
        (
            '{"context": "the", "choices": ["cat"], "gold": 0}',
            "item 5 of tiny.jsonl: expected two or more choices",
        ),
        ('{"context": "the", "gold": 0}', "item 5 of tiny.jsonl: expected two or more choices"),
    ],
)
def test_item_is_refused(model: Any, tokenizer: Any, folder: Path, row: str, message: str) -> None:
    (folder / "tiny.jsonl").write_text(ROWS + row + "\n")
    tasks = read_tasks(manifest(folder), None, None)
    with pytest.raises(RankwiseError, match=message):
        zero_shot(model, tokenizer, tasks, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("3", "line 1 must be"),
        ("", "holds no items"),
        (ROWS.split("\n")[0], "holds 1 items; .* need two"),
    ],
)
def test_data_file_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "tiny.jsonl").write_text(text)
    with pytest.raises(RankwiseError, match=message):
        read_tasks(manifest(folder), None, None)


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__ }}", "{{ ''['__cla' ~ 'ss__'] }}", "{{ missing }}"]
)
def test_template_sees_only_its_item(
    model: Any, tokenizer: Any, folder: Path, template: str
) -> None:
    (folder / "tiny.yaml").write_text(TASK.replace("{{context}}", template))
    tasks = read_tasks(manifest(folder), None, None)
    with pytest.raises(RankwiseError, match=r"tiny\.yaml: lm-eval cannot make items of it"):
        zero_shot(model, tokenizer, tasks, 4)


def test_model_that_overflows_is_refused(tokenizer: Any, folder: Path, model: Any) -> None:
    tasks = read_tasks(manifest(folder), None, None)
    weight = model.lm_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(math.nan)
        with pytest.raises(
            RankwiseError, match="task tiny, item 1: its log-likelihood is not finite"
        ):
            zero_shot(model, tokenizer, tasks, 4)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_mean_and_error() -> None:
    assert mean_and_error([]) == (0.0, 0.0)
    assert mean_and_error([1.0]) == (1.0, 0.0)
    assert mean_and_error([0.0, 1.0]) == (0.5, 0.5)
