"""A checkpoint opens in a new process in every way that is promised, and in no other."""

import torch


def test_auto_classes_open_it_after_import_rankwise(opened):
    assert opened.facts["class"] == "RankwiseForCausalLM"
    for way in ("logits", "cpu", "auto", "low memory", "again"):
        torch.testing.assert_close(opened.of(way), opened.logits, rtol=1e-5, atol=1e-5, msg=way)
    for way in ("eager", "compiled"):
        torch.testing.assert_close(opened.of(way), opened.logits, rtol=1e-4, atol=1e-4, msg=way)
    assert opened.facts["dtypes"] == ["torch.bfloat16"]


def test_it_generates(opened):
    greedy = opened.facts["greedy"]
    assert opened.facts["without cache"] == greedy
    assert opened.facts["padded"] == greedy
    assert opened.facts["sampled"] == [2, 8 + 5]


def test_saved_again_it_is_whole(opened):
    assert {
        "config.json", "generation_config.json", "model.safetensors", "configuration_rankwise.py",
        "modeling_rankwise.py", "linears.py", "experts.py", "places.py", "checks.py",
    } <= set(opened.facts["files"])  # fmt: skip


def test_without_rankwise_it_is_refused(opened):
    """Never a model with random weights behind a warning."""
    for way in ("plain", "no trust"):
        assert "trust_remote_code" in opened.plain[way] or "rankwise" in opened.plain[way]


def test_without_rankwise_the_code_that_travels_opens_it(opened):
    torch.testing.assert_close(opened.of("trusted"), opened.logits, rtol=1e-5, atol=1e-5)


def test_its_stock_form_opens_everywhere(opened):
    assert opened.plain["stock class"] == opened.made.dense.architecture
    torch.testing.assert_close(opened.of("stock"), opened.logits, rtol=1e-4, atol=1e-4)
