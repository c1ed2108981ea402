"""What a model says: greedy continuations of a few prompts, to be read side by side."""

from typing import Any

import torch

from rankwise.records.items import Continuation


@torch.no_grad()
def continue_prompts(
    model: Any, tokenizer: Any, prompts: list[str], new_tokens: int
) -> list[Continuation]:
    """Continue every prompt by its likeliest tokens, ``new_tokens`` or up to an end of text.

    The prompt is encoded as the tokenizer does by default, special tokens included. Nothing is drawn
    at random. Cost: one forward pass a token, with a cache.
    """
    from transformers import GenerationConfig

    how = GenerationConfig(  # the model's own, which may draw at random, is left aside
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    found = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids.to(model.device)
        whole = model.generate(ids, how, attention_mask=torch.ones_like(ids))
        text = tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
        found.append(Continuation(prompt=prompt, text=text))
    return found
