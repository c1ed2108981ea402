"""The shipped model and the figures recorded about it."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rankwise.embedded import tasks
from rankwise.embedded.describe import shipped, training_log, truncated
from rankwise.embedded.files import MODEL, TASK_NAMES, TEST_TEXT
from rankwise.embedded.grammar import SEPARATOR
from rankwise.embedded.optimizer import Muon, orthogonalise
from rankwise.embedded.overlap import overlap
from rankwise.embedded.stream import answer_weights, encode
from rankwise.embedded.train import STAGES, pace


def test_weights_are_small_and_attention_is_grouped() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    config = model.config
    assert (MODEL / "model.safetensors").stat().st_size <= 8_000_000
    assert 1 < config.num_key_value_heads < config.num_attention_heads
    blocks = [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert all(linear.bias is None for linear in blocks)
    share = sum(m.weight.numel() for m in blocks) / sum(p.numel() for p in model.parameters())
    assert share > 0.75


def test_model_predicts_the_test_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    text = TEST_TEXT.read_text(encoding="utf-8")[:30_000]
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    rows = ids[: len(ids) // 128 * 128].view(-1, 128)
    with torch.inference_mode():
        loss = float(model(rows, labels=rows).loss)
    assert loss < 1.2


def test_tokenizer_round_trip_and_words_are_single_tokens() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    text = TEST_TEXT.read_text(encoding="utf-8")[:50_000]
    ids = tokenizer(text, verbose=False)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(ids) < 1.15 * len(text.split(" ")) + 4 * text.count(SEPARATOR)


def test_a_word_is_the_same_token_wherever_it_stands() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    line = "ida met ida ."
    ids = tokenizer(line + SEPARATOR + line, add_special_tokens=False)["input_ids"]
    assert ids.count(ids[0]) == 4


def test_training_reads_a_text_as_evaluation_does() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    text = TEST_TEXT.read_text(encoding="utf-8").strip()[:30_000]
    ids = encode(tokenizer, text.split(SEPARATOR), 1.0).ids.tolist()
    read = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    between = (len(ids) - len(read)) // 2
    assert ids[between:-between] == read


def test_log_records_the_committed_settings() -> None:
    logged = training_log()
    assert len(logged) == len(STAGES)
    for stage, (head, *records) in zip(STAGES, logged, strict=True):
        assert {name: head[name] for name in vars(stage)} == vars(stage)
        assert records[-1]["step"] == stage.steps
        assert records[-1]["loss"] < records[0]["loss"]


def task_average(model: PreTrainedModel) -> float:
    """Mean accuracy over the five tasks: the choice with the highest log-likelihood."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    shares = []
    for name in TASK_NAMES:
        items = tasks.items(name)
        contexts = [item.context for item in items for _ in item.choices]
        whole = [f"{item.context} {choice}" for item in items for choice in item.choices]
        batch = tokenizer(whole, return_tensors="pt", padding=True, padding_side="right")
        ids, given = batch["input_ids"], [len(ids) for ids in tokenizer(contexts)["input_ids"]]
        with torch.inference_mode():
            logits = torch.cat([model(part).logits[:, :-1] for part in ids.split(128)])
        scores = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        place = torch.arange(1, ids.shape[1])
        asked = (place >= torch.tensor(given)[:, None]) & batch["attention_mask"][:, 1:].bool()
        best = (scores * asked).sum(1).view(len(items), -1).argmax(1)
        shares.append(float((best == torch.tensor([i.gold for i in items])).float().mean()))
    return sum(shares) / len(shares)


def test_plain_svd_at_half_costs_twenty_points() -> None:
    dense = task_average(shipped())
    assert dense >= 0.85
    assert task_average(truncated(shipped(), 0.5)) <= dense - 0.20


def test_pace_rises_holds_and_falls() -> None:
    stage = STAGES[-1]
    rates = [pace(stage, step) for step in range(stage.steps)]
    assert rates[0] < rates[stage.warmup] == 1.0 == max(rates)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 5), (2, 5, 16)])
def test_orthogonalised_matrices_keep_their_directions_at_equal_size(
    shape: tuple[int, ...],
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ orthogonalise(matrices) @ vh.mT
    sizes = found.diagonal(dim1=1, dim2=2)
    assert 0.6 < sizes.min() < sizes.max() < 1.3
    torch.testing.assert_close(found, torch.diag_embed(sizes), rtol=0, atol=1e-4)


def test_muon_lowers_a_loss_and_leaves_no_small_direction() -> None:
    weight = torch.nn.Parameter(torch.zeros(6, 6))
    target = torch.diag(torch.tensor([9.0, 4, 1, 0.5, 0.2, 0.1]))
    optimizer = Muon([weight], lr=0.02, momentum=0.9, weight_decay=0.0)
    for _ in range(4):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    values = torch.linalg.svdvals(weight.detach())
    assert (weight - target).norm() < target.norm()
    assert values.min() > 0.5 * values.max()


def test_answers_weigh_more_and_windows_hold_whole_documents() -> None:
    ids = torch.tensor([5, 1, 6, 7, 2, 5])
    assert answer_weights(ids, answer=1, stop=2, weight=3.0).tolist() == [1, 3, 3, 3, 1, 1]
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    documents = TEST_TEXT.read_text(encoding="utf-8").strip().split(SEPARATOR)[:60]
    stream = encode(tokenizer, documents, 2.0)
    rng = torch.Generator().manual_seed(0)
    rows, weights = stream.batch(rng, 8, 40, aligned=1.0)
    assert rows.shape[1] == weights.shape[1] + 1 == 41
    assert (rows[:, 0] == tokenizer.bos_token_id).all()
    assert all(
        any(tokenizer.decode(row[1:6]) in document[:60] for document in documents) for row in rows
    )


def test_overlap_counts_by_occurrence() -> None:
    text = ["a b . c d .", "a b . e f ."]
    shares = overlap({"x": text}, ["a b . g h .", "a b . e f ."])["x"]
    assert (shares.sentences, shares.documents) == (0.75, 0.5)


def test_documented_test_overlap_is_no_more_than_chance() -> None:
    page = Path(__file__).parents[2] / "docs" / "embedded.md"
    if not page.is_file():
        pytest.skip("documentation is not part of this installation")
    cells = dict(re.findall(r"\| (test text|chance[^|]*?) \| ([\d.]+)% ", page.read_text()))
    test, chance = float(cells["test text"]), float(cells["chance: an independent text"])
    assert test <= chance + 1.0
