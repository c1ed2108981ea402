"""Measure the embedded default and write the figures into its documentation.

``python -m rankwise.embedded.describe docs/embedded.md`` fills the blocks between
``<!-- begin NAME -->`` and ``<!-- end NAME -->``: samples, the loss curve, accuracy through lm-eval
(as shipped, halved by plain SVD, and without the contexts), perplexity, entropy and overlap. Takes
three minutes on two cores.
"""

import argparse
import contextlib
import json
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from rankwise.embedded import tasks
from rankwise.embedded.files import MODEL, TASK_NAMES, TASKS, TEST_TEXT, TRAINING_LOG
from rankwise.embedded.grammar import FORMS, SEEDS, SEPARATOR, documents
from rankwise.embedded.overlap import overlap
from rankwise.embedded.people import Split, join

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHANCE_SEED = 6006
SEQUENCE = 128
"""Tokens a sequence when the test perplexity is measured."""
BLIND_CONTEXT = "answer :"
KEEP = 0.5
"""What plain SVD keeps of each linear when the page shows what compression costs."""


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sample_documents() -> str:
    """One document of each form."""
    rng = Random(0)  # noqa: S311 - a sample, not a secret
    return "\n\n".join(f"*{name}*\n\n> {join(draw(rng, Split.TEXT))}" for name, draw, _ in FORMS)


def sample_items() -> str:
    """The first item of each task, as shipped."""
    rows = []
    for name in TASK_NAMES:
        item = tasks.items(name)[0]
        choices = " / ".join(
            f"**{c}**" if i == item.gold else c for i, c in enumerate(item.choices)
        )
        rows.append([f"`{name}`", item.context, choices])
    return table(["task", "context", "choices (right one bold)"], rows)


def training_log() -> list[list[dict[str, Any]]]:
    """The recorded log by stage: first what was set, then the records."""
    lines = [json.loads(line) for line in TRAINING_LOG.read_text(encoding="utf-8").splitlines()]
    count = 1 + max(line["stage"] for line in lines)
    return [[line for line in lines if line["stage"] == number] for number in range(count)]


def training_curve() -> str:
    """Settings and loss of each stage of the recorded training."""
    blocks = []
    for head, *records in training_log():
        settings = ", ".join(f"{key} {value}" for key, value in head.items() if key != "stage")
        picked = [r for i, r in enumerate(records) if (i + 1) % 5 == 0 or i in (0, 1)]
        rows = [[str(r["step"]), f"{r['loss']:.3f}", f"{r['seconds'] / 60:.1f}"] for r in picked]
        curve = table(["step", "loss (nats a token, weighted)", "minutes"], rows)
        blocks.append(f"Stage {head['stage']}: {settings}.\n\n{curve}")
    return "\n\n".join(blocks)


def shipped() -> "PreTrainedModel":
    """The model as shipped."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MODEL)
    return model.eval()


def truncated(model: "PreTrainedModel", keep: float) -> "PreTrainedModel":
    """The model with every linear of its blocks, in place, at the rank that leaves it `keep`.

    Plain truncated SVD: out x in becomes rank floor(keep * out * in / (out + in)).
    """
    import torch

    with torch.no_grad():
        for module in model.model.layers.modules():
            if isinstance(module, torch.nn.Linear):
                rows, columns = module.weight.shape
                rank = int(keep * rows * columns / (rows + columns))
                u, s, vh = torch.linalg.svd(module.weight.double(), full_matrices=False)
                module.weight.copy_((u[:, :rank] * s[:rank]) @ vh[:rank])
    return model


def accuracy(folder: Path, model: "PreTrainedModel") -> dict[str, float]:
    """Zero-shot accuracy of `model` on each task in `folder`, through lm-eval."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    with contextlib.chdir(folder):  # lm-eval looks for data files from where it stands
        results = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=32, max_length=256),
            tasks=list(TASK_NAMES),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            log_samples=False,
        )["results"]
    return {name: float(results[name]["acc,none"]) for name in TASK_NAMES}


def blind_accuracy() -> dict[str, float]:
    """Accuracy when every context is replaced by the same words: what choices alone give away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in TASK_NAMES:
            rows = [replace(item, context=BLIND_CONTEXT).row() for item in tasks.items(task)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{task}.jsonl").write_text(lines, encoding="utf-8")
            (folder / f"{task}.yaml").write_text(tasks.task_yaml(task), encoding="utf-8")
        return accuracy(folder, shipped())


def accuracies() -> str:
    """Accuracy as a table, with chance, after plain SVD and with the contexts taken away."""
    measured = (
        accuracy(TASKS, shipped()),
        accuracy(TASKS, truncated(shipped(), KEEP)),
        blind_accuracy(),
    )
    rows = [
        [f"`{name}`", f"{1 / choices:.2f}", *(f"{column[name]:.3f}" for column in measured)]
        for name, (_, choices) in tasks.TASKS.items()
    ]
    means = (sum(column.values()) / len(column) for column in measured)
    rows.append(["average", "", *(f"{mean:.3f}" for mean in means)])
    header = ["task", "chance", "accuracy", f"plain SVD, keep {KEEP}", "without the context"]
    return table(header, rows)


def test_perplexity() -> tuple[float, float, int]:
    """Perplexity of the test text, perplexity of its unigram distribution, and its tokens.

    The text is cut into sequences of `SEQUENCE` tokens; the first token of each is not scored.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = shipped()
    text = TEST_TEXT.read_text(encoding="utf-8")
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    rows = ids[: len(ids) // SEQUENCE * SEQUENCE].view(-1, SEQUENCE)
    total = 0.0
    with torch.inference_mode():
        for batch in rows.split(32):
            logits = model(batch).logits[:, :-1].flatten(0, 1)
            targets = batch[:, 1:].flatten()
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    counts = Counter(ids.tolist())
    entropy = -sum(c / len(ids) * math.log(c / len(ids)) for c in counts.values())
    return math.exp(total / rows[:, 1:].numel()), math.exp(entropy), len(ids)


def perplexities() -> str:
    """Perplexity beside that of a model that only knows how frequent each token is."""
    model, unigram, tokens = test_perplexity()
    rows = [
        ["test perplexity of the model", f"{model:.3f}"],
        ["test perplexity of the unigram distribution", f"{unigram:.1f}"],
        ["unigram entropy, bits a token", f"{math.log2(unigram):.2f}"],
        ["test tokens", str(tokens)],
    ]
    return table(["figure", "value"], rows)


def overlaps() -> str:
    """Overlap of the test text with the training text, next to chance."""
    from rankwise.embedded.train import STAGES

    test = TEST_TEXT.read_text(encoding="utf-8").strip().split(SEPARATOR)
    size = sum(map(len, test))
    texts = {
        "test text": test,
        "chance: an independent text": documents(CHANCE_SEED, size),
        "contexts of the tasks": [i.context for n in TASK_NAMES for i in tasks.items(n)],
    }
    training = (
        document
        for stage in STAGES
        for document in documents(SEEDS[stage.text], stage.characters, stage.passages)
    )
    found = overlap(texts, training)
    rows = [
        [name, f"{s.sentences:.2%}", f"{s.documents:.2%}", f"{s.ngrams:.2%}"]
        for name, s in found.items()
    ]
    return table(["text", "sentences", "whole documents", "12-grams"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "samples": sample_documents,
    "items": sample_items,
    "training": training_curve,
    "accuracy": accuracies,
    "perplexity": perplexities,
    "overlap": overlaps,
}


def fill(page: str) -> str:
    """The page with every block measured anew."""
    for name, measure in BLOCKS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        block = f"{begin}\n\n{measure()}\n\n{end}"
        page = re.sub(f"{begin}.*?{end}", lambda _, b=block: b, page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def main() -> None:
    """Fill the page named on the command line."""
    parser = argparse.ArgumentParser(description="Write measured figures into a Markdown page.")
    parser.add_argument("page", type=Path)
    page: Path = parser.parse_args().page
    page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
