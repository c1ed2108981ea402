"""Make the embedded default from nothing: ``python -m rankwise.embedded.train``.

Generates the text, trains the tokenizer and the model, and writes ``model/``, ``text/`` and
``tasks/``. Every random choice has its own seeded generator and the length is given in steps, so
the command gives the same text, tokenizer and batches everywhere, and the same weights on the same
build of torch. It takes under an hour on one core and is not part of a normal run.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rankwise.embedded import tasks
from rankwise.embedded.files import MODEL, ROOT, TASKS, TEXT, TRAINING_LOG
from rankwise.embedded.grammar import SEEDS, documents, text
from rankwise.embedded.optimizer import Muon
from rankwise.embedded.stream import Stream, encode
from rankwise.embedded.tokenizer import CONTEXT, VOCABULARY, WINDOW, train_tokenizer

TEXT_CHARACTERS = {"calibration": 260_000, "search": 90_000, "test": 260_000}
"""How long the shipped texts are; a token is about four and a half characters."""
TOKENIZER_DOCUMENTS = 20_000
LOG_EVERY = 50


@dataclass(frozen=True)
class Stage:
    """One part of the training, with a text and an optimiser of its own.

    A step is `batch` sequences of `window` tokens.
    """

    text: str
    """Whose seed the text has."""
    characters: int
    passages: int
    """How many times as often as usual the text brings passages with questions."""
    steps: int
    warmup: int
    cooldown: int
    batch: int = 16
    window: int = WINDOW
    matrix_rate: float = 0.02
    """Muon's learning rate, for the matrices of the layers but queries and keys."""
    attention_rate: float = 1.5e-3
    """AdamW's learning rate for query and key matrices: Muon drives their scores to saturation."""
    learning_rate: float = 3e-3
    """AdamW's learning rate, for embeddings and norms."""
    weight_decay: float = 0.01
    momentum: float = 0.95
    clip: float = 1.0
    aligned: float = 0.6
    answer_weight: float = 5.0
    seed: int = 8


STAGES = (
    Stage(
        "train", 26_000_000, passages=2, steps=1500, warmup=100, cooldown=0,
        batch=28, window=72, aligned=1.0,
    ),
    Stage("train again", 32_000_000, passages=2, steps=2600, warmup=50, cooldown=2550, seed=9),
)  # fmt: skip
"""First single documents at a steady pace, then running text while the pace falls to nothing.

A window that begins with its document has few words to look among, which is when looking back is
learnt. Passages with questions come twice as often as in the shipped texts.
"""

INITIAL_SEED = 7


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """LLaMA with grouped-query attention: 4 query heads share 2 key/value heads."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def pace(stage: Stage, step: int) -> float:
    """Share of the learning rates: linear warm-up, constant, linear down over `cooldown` steps."""
    rising = (step + 1) / stage.warmup
    falling = (stage.steps - step) / max(1, stage.cooldown)
    return min(1.0, rising, falling)


def initialise(model: LlamaForCausalLM, seed: int) -> None:
    """Draw every matrix anew from one generator, so that no global random state is used.

    Embeddings start larger than what the layers add, so that every layer sees the words clearly.
    """
    rng = torch.Generator().manual_seed(seed)
    depth = 2 * model.config.num_hidden_layers
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                weight.fill_(1.0)
                continue
            scale = 0.1 if "embed" in name else weight.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale *= 0.2 / math.sqrt(depth)
            weight.normal_(0.0, scale, generator=rng)


def train(
    model: LlamaForCausalLM, stream: Stream, stage: Stage, device: str
) -> Iterator[dict[str, float]]:
    """Train in place; yields step, loss in nats a token, share of the learning rates and seconds."""
    model.to(device).train()
    others, attention, matrices = [], [], []
    for name, p in model.named_parameters():
        if p.dim() < 2 or "embed" in name:
            others.append(p)
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            attention.append(p)
        else:
            matrices.append(p)
    betas, decay = (0.9, 0.98), stage.weight_decay
    optimizers: dict[torch.optim.Optimizer, float] = {
        Muon(matrices, stage.matrix_rate, stage.momentum, decay): stage.matrix_rate,
        torch.optim.AdamW(attention, betas=betas, weight_decay=decay): stage.attention_rate,
        torch.optim.AdamW(others, betas=betas, weight_decay=0.0): stage.learning_rate,
    }
    rng = torch.Generator().manual_seed(stage.seed)
    began, losses = time.monotonic(), torch.zeros(stage.steps)
    for step in range(stage.steps):
        for optimizer, rate in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * pace(stage, step)
        ids, weights = (
            t.to(device) for t in stream.batch(rng, stage.batch, stage.window, stage.aligned)
        )
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        loss = (each * weights.flatten()).sum() / weights.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), stage.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses[step] = loss.detach()
        if (step + 1) % LOG_EVERY == 0 or step + 1 == stage.steps:
            recent = losses[max(0, step + 1 - LOG_EVERY) : step + 1]
            yield {
                "step": step + 1,
                "loss": round(float(recent.mean()), 4),
                "pace": round(pace(stage, step), 4),
                "seconds": round(time.monotonic() - began, 1),
            }


def write_text(folder: Path) -> None:
    """Write the calibration, search and test text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, characters in TEXT_CHARACTERS.items():
        content = text(SEEDS[name], characters)
        (folder / f"{name}.txt").write_text(content, encoding="utf-8", newline="\n")


def write_model(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the model in float32 with its tokenizer, as a plain Hugging Face folder."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_length=CONTEXT,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build(root: Path, stages: tuple[Stage, ...], device: str) -> None:
    """Generate, train and write everything below `root`, which is made where it is missing."""
    write_text(root / TEXT.name)
    tasks.write(root / TASKS.name)
    first = stages[0]
    stories = documents(SEEDS[first.text], first.characters, first.passages)
    tokenizer = train_tokenizer(stories[:TOKENIZER_DOCUMENTS])
    model = LlamaForCausalLM(model_config(tokenizer))
    initialise(model, INITIAL_SEED)
    machine = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    console = Console(stderr=True)
    with (
        (root / TRAINING_LOG.name).open("w", encoding="utf-8") as log,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        for number, stage in enumerate(stages):
            stories = documents(SEEDS[stage.text], stage.characters, stage.passages)
            stream = encode(tokenizer, stories, stage.answer_weight)
            head = {"stage": number, **asdict(stage), **machine, "tokens": len(stream.ids)}
            log.write(json.dumps(head) + "\n")
            bar = progress.add_task(f"stage {number}", total=stage.steps)
            for record in train(model, stream, stage, device):
                log.write(json.dumps({"stage": number, **record}) + "\n")
                log.flush()
                progress.update(bar, completed=record["step"])
    write_model(root / MODEL.name, model.cpu(), tokenizer)


def main() -> None:
    """Parse the options and build."""
    parser = argparse.ArgumentParser(description="Make the embedded default from nothing.")
    parser.add_argument("--output", type=Path, default=ROOT, help="folder of model/, text/, tasks/")
    parser.add_argument("--steps", type=int, help="at most so many steps a stage, for a trial")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    limit = options.steps or max(stage.steps for stage in STAGES)
    stages = tuple(replace(stage, steps=min(stage.steps, limit)) for stage in STAGES)
    build(options.output, stages, options.device)


if __name__ == "__main__":
    main()
