"""What people do with a checkpoint once it is open: evaluate it from the command line, adapt it, publish it."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from rankwise.checkpoint.loading import load_folder
from tests.checkpoints import made
from tests.families import ids

TASK = """\
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: words.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("uses"), "biases", "pooled_pca")


def test_lm_eval_evaluates_it_from_the_command_line(study, tmp_path):
    """By the code that travels, in a process that never imports rankwise itself."""
    (tmp_path / "words.yaml").write_text(TASK)
    rows = [
        {"context": f"w{n} w{n + 3}", "choices": ["w7", "w8 w9", "w11"], "gold": n % 3}
        for n in range(4, 12)
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = os.environ | {
        name: str(tmp_path / name.lower())
        for name in ("HF_HOME", "HF_MODULES_CACHE", "HF_DATASETS_CACHE")
    }
    model = f"pretrained={study.folder},trust_remote_code=True,dtype=float32"
    command = [
        *(sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", model),
        *("--tasks", "words", "--include_path", str(tmp_path), "--device", "cpu"),
        *("--batch_size", "4", "--output_path", str(tmp_path / "out"), "--log_samples"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    [samples] = (tmp_path / "out").rglob("samples_words_*.jsonl")
    model, tokenizer = load_folder(study.folder)
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        for choice, response in zip(
            sample["doc"]["choices"], sample["filtered_resps"], strict=True
        ):
            context = tokenizer(sample["doc"]["context"])["input_ids"]
            rest = tokenizer(choice)["input_ids"]
            tokens = torch.tensor([context + rest])
            with torch.no_grad():
                found = model(tokens).logits[0].log_softmax(-1)
            expected = sum(float(found[len(context) - 1 + n, t]) for n, t in enumerate(rest))
            assert float(response[0]) == pytest.approx(expected, abs=1e-3)


def test_lora_trains_on_top_of_the_factors(study):
    model, _ = load_folder(study.folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["left", "right"]))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.02)
    losses = []
    for _ in range(6):
        loss = adapted(ids(4, 12), labels=ids(4, 12)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    after = adapted.unload().state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_goes_to_the_hub_is_what_opens(study, monkeypatch, tmp_path):
    """`push_to_hub` sends weights, configuration and the code that travels."""
    from transformers.utils import hub

    model, _ = load_folder(study.folder)
    sent = {}

    class Hub:
        """Takes what would be sent."""

        def create_repo(self, name, **_):
            return SimpleNamespace(repo_id=name)

        def create_commit(self, operations, **_):
            for operation in operations:
                with operation.as_file() as stream:
                    sent[operation.path_in_repo] = stream.read()

    monkeypatch.setattr(hub, "hf_api", Hub)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: ModelCard("It."))
    model.push_to_hub("me/it")
    for name, content in sent.items():
        (tmp_path / name).write_bytes(content)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again(ids(2, 8)).logits, model(ids(2, 8)).logits)
