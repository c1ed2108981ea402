"""Zero-shot accuracy through lm-eval, with a model that is already in memory.

The average that papers on compression and this package report is the mean over tasks of ``acc``. This
package also reports ``acc_norm`` for every task.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.evaluate.task_files import TaskFile
from rankwise.records.items import TaskItems
from rankwise.records.scores import TaskScore


@dataclass(frozen=True)
class TaskResult:
    """One task: its score, and the result of each item, in the order of the data file."""

    score: TaskScore
    items: TaskItems


def zero_shot(
    model: Any, tokenizer: Any, tasks: list[TaskFile], batch: int
) -> dict[str, TaskResult]:
    """Evaluate the model on every item of every task; return results by task name.

    Prompt and metric are lm-eval's own. lm-eval appends each choice to the item's text and sums the
    log-likelihood of the choice's tokens; the largest sum wins (acc). For acc_norm it divides the sum
    by the choice's length [characters]. Standard errors are those of a mean over items, without
    bootstrap. The evaluation is not random, downloads nothing and writes no file.

    Cost: one forward pass over the text of every item times its number of choices.
    """
    if not tasks:
        return {}
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    length = model.config.max_position_embeddings
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=length)
    score_pairs = harness.loglikelihood
    harness.loglikelihood = lambda requests: score_pairs(
        requests, disable_tqdm=not sys.stderr.isatty()
    )
    with _sandbox_lm_eval():
        configured = {task.name: _build_task(task) for task in tasks}
        results = evaluate(harness, {"tasks": configured}, bootstrap_iters=0, log_samples=True)
    samples: dict[str, list[dict[str, Any]]] = results["samples"]
    return {task.name: _build_result(task, samples[task.name]) for task in tasks}


@contextmanager
def _sandbox_lm_eval() -> Iterator[None]:
    """Make lm-eval render templates in Jinja's sandbox, and draw progress bars only on terminals.

    In the sandbox a template can access its item, but no Python objects. Templates are compiled once;
    lm-eval alone compiles them for every item, a fifth of the time with a small model.
    """
    import datasets
    import lm_eval.api.task
    import lm_eval.utils
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    plain, bar = lm_eval.utils.env, lm_eval.api.task.tqdm
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters.update(plain.filters)
    sandbox.from_string = cache(sandbox.from_string)  # type: ignore[assignment,method-assign]
    lm_eval.utils.env, lm_eval.api.task.tqdm = sandbox, partial(bar, disable=None, leave=False)
    datasets.disable_progress_bars()  # one for every step of preparing items
    try:
        yield
    finally:
        datasets.enable_progress_bars()
        lm_eval.utils.env, lm_eval.api.task.tqdm = plain, bar


def _build_task(task: TaskFile) -> Any:
    """Return lm-eval's task over the items in memory; checks every item before the evaluation starts."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    where = f"task {task.name}"
    try:
        items = Dataset.from_list(task.rows)
        config = {**task.config, "test_split": "test", "custom_dataset": lambda: {"test": items}}
        configured = ConfigurableTask(config=config)
        configured.set_config("num_fewshot", 0)
        for number, item in enumerate(configured.task_docs, 1):
            where = f"task {task.name}, item {number} of {task.data.name}"
            answer = (
                configured.doc_to_text if configured.multiple_input else configured.doc_to_target
            )
            _check_item(where, configured.doc_to_choice(item), answer(item))
    except RankwiseError:
        raise
    except Exception as error:  # templates, fields and types are the task author's
        raise RankwiseError(
            f"{task.path}: lm-eval cannot make items of it ({where}: {type(error).__name__}: {error}); "
            "check the columns that it names, and the answers"
        ) from error
    return configured


def _check_item(where: str, choices: Any, answer: Any) -> None:
    """Refuse an item without two choices or without a valid answer."""
    if not isinstance(choices, list) or len(choices) < 2 or not all(choices):
        raise RankwiseError(
            f"{where}: expected two or more choices that are not empty, found {choices!r}"
        )
    if isinstance(answer, str):
        right = answer in choices
    else:
        right = isinstance(answer, int) and 0 <= answer < len(choices)
    if not right:
        raise RankwiseError(
            f"{where}: the answer is {answer!r}, but there are {len(choices)} choices; "
            f"expected 0 to {len(choices) - 1} or the text of a choice"
        )


def _build_result(task: TaskFile, samples: Sequence[dict[str, Any]]) -> TaskResult:
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    overflowing = [sample["doc_id"] for sample in samples if not _is_finite(sample)]
    if overflowing:
        raise RankwiseError(
            f"task {task.name}, item {overflowing[0] + 1}: its log-likelihood is not finite: the model "
            "overflows there. Keep more, or run it in float32"
        )
    correct = [sample["acc"] > 0 for sample in samples]
    correct_norm = (
        [sample["acc_norm"] > 0 for sample in samples] if "acc_norm" in samples[0] else None
    )
    score = TaskScore(
        data=task.data.name,
        **_score_metric("acc", correct),
        **(_score_metric("acc_norm", correct_norm) if correct_norm else {}),
        items=len(samples),
        chance=sum(1 / len(sample["arguments"]) for sample in samples) / len(samples),
    )
    return TaskResult(
        score, TaskItems(sha256=_hash_requests(samples), acc=correct, acc_norm=correct_norm)
    )


def _score_metric(metric: str, correct: Sequence[bool]) -> dict[str, Any]:
    mean, error = mean_and_error(correct)
    return {metric: mean, f"{metric}_stderr": error}


def _hash_requests(samples: Sequence[dict[str, Any]]) -> str:
    """Return a hash of the requests, in order: every prompt with its choices, and the answer."""
    requests = [(sample["arguments"], str(sample["target"])) for sample in samples]
    return hashlib.sha256(json.dumps(requests).encode()).hexdigest()


def _is_finite(sample: dict[str, Any]) -> bool:
    return all(math.isfinite(likelihood) for likelihood, _ in sample["filtered_resps"])


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error by the sample variance (n − 1); zeros for no values."""
    count = len(values)
    mean = sum(values) / count if count else 0.0
    if count < 2:
        return mean, 0.0
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
