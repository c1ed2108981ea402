"""A model and a tokenizer small enough to be computed by hand."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rankwise.inputs.sources import hash_files
from rankwise.records.tasks import TasksManifest
from tests.conftest import tiny_llama

WORDS = ["<s>", "</s>", "<unk>", "the", "cat", "dog", "sat", "ran", "on", "mat", "rug", "yes", "no"]


@pytest.fixture(scope="session")
def model() -> LlamaForCausalLM:
    """Weights large enough that its choices are no ties."""
    return tiny_llama(vocab_size=len(WORDS), pad_token_id=1, initializer_range=0.5)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(WordLevel(vocabulary, "<unk>"))
    words.pre_tokenizer = Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: tiny.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
"""
ROWS = """\
{"context": "the cat sat on the", "choices": ["mat", "rug ran", "dog"], "gold": 0}
{"context": "the dog ran on the", "choices": ["mat rug", "cat", "sat"], "gold": 1}
{"context": "the dog sat", "choices": ["on the mat", "ran", "yes no"], "gold": 2}
{"context": "the mat", "choices": ["no", "yes", "cat cat"], "gold": 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good task."""
    (tmp_path / "tiny.yaml").write_text(TASK)
    (tmp_path / "tiny.jsonl").write_text(ROWS)
    return tmp_path


def manifest(folder: Path) -> TasksManifest:
    return TasksManifest(source=str(folder), files=hash_files(folder, ("*.yaml", "*.jsonl")))
