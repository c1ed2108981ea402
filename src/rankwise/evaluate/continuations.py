"""Greedy continuations of a few prompts, for comparing models by eye."""

from typing import Any

import torch

from rankwise.records.items import Continuation


@torch.no_grad()
def continue_prompts(
    model: Any, tokenizer: Any, prompts: list[str], new_tokens: int
) -> list[Continuation]:
    """Continue every prompt by its likeliest tokens, ``new_tokens`` or up to an end of text.

    The tokenizer encodes the prompt with its defaults, special tokens included. Decoding is greedy;
    nothing is random. Cost: one forward pass per token, with a cache.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(  # replaces the model's own, which may sample at random
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    continuations = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids.to(model.device)
        tokens = model.generate(ids, config, attention_mask=torch.ones_like(ids))
        text = tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)
        continuations.append(Continuation(prompt=prompt, text=text))
    return continuations
