"""Perplexity at token level over windows of one fixed length, as the papers on compression measure it.

The tokens that count, for windows of length 6 over a text of tokens a b c d …::

    window 0    a  b  c  d  e  f        window 1    g  h  i  j  k  l        m  n  o
    context     a                       context     g                       unused
    predicted      b  c  d  e  f        predicted      h  i  j  k  l

The first token of a window is context only. The model predicts every other token once, from all
earlier tokens of its own window. No token carries context into the next window, no window is skipped,
and all tokens have equal weight: ``perplexity = exp(mean loss)`` over windows × (length − 1) tokens.
Tokens after the last complete window are in no window (`rankwise.inputs.sampling.draw_windows`).

The text is one string, encoded once without special tokens: there is no beginning-of-sequence token
at the start of the text or of a window. (Scripts derived from GPTQ encode with the tokenizer's
default, which puts one BOS before the text for LLaMA: it moves every window by one token.)

The result depends on the length: 2048 in most papers, 4096 in some. `sample.further` sets more texts,
or more lengths of one text. lm-eval's word-level perplexity divides the same kind of sum by the number
of words: another quantity, not computed here.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from rankwise.errors import RankwiseError

LARGEST_LOSS = 700.0
"""Largest mean loss whose ``exp`` is in the range of a float [nats/token]."""


@torch.no_grad()
def window_losses(
    model: Any, ids: Tensor, batch: int, what: str = "perplexity", *, progress: bool = False
) -> Tensor:
    """Return the negative log-likelihood of every predicted token, [windows, length − 1] float32.

    ``model`` is a causal language model; it runs on its own device and in its own precision, and its
    logits are normalised in float32. ``ids`` [windows, length] integers. ``what`` names run and text
    in errors. ``progress`` draws a bar if stderr is a terminal.

    Raises RankwiseError for fewer than two windows (their loss has no standard error), for windows
    longer than the model has positions, and for a loss that is not finite, naming the first window.
    Cost: one forward pass; ``batch`` × length × vocabulary logits in memory.
    """
    _check_windows(model, ids, what)
    device = next(model.parameters()).device
    parts = []
    starts = range(0, len(ids), batch)
    for begin in tqdm(starts, "perplexity", disable=None if progress else True, leave=False):
        part = ids[begin : begin + batch].to(device, torch.long)
        logits = model(input_ids=part, use_cache=False).logits
        parts += [  # window by window: float32 logits of only one window exist at a time
            functional.cross_entropy(window[:-1].float(), tokens[1:], reduction="none")
            for window, tokens in zip(logits, part, strict=True)
        ]
    losses = torch.stack(parts).cpu()
    broken = (~losses.isfinite().all(1)).nonzero().flatten().tolist()
    if broken:
        raise RankwiseError(
            f"{what}: window {broken[0]} (of {len(losses)}; {len(broken)} in all) has a loss "
            "that is not finite: the model overflows there. Keep more, or run it in float32"
        )
    return losses


def _check_windows(model: Any, ids: Tensor, what: str) -> None:
    windows, length = ids.shape
    if windows < 2:
        raise RankwiseError(
            f"{what}: {windows} window of {length} tokens; a loss and its error need two at least. "
            "Give more text, or shorter windows"
        )
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if positions is not None and length > positions:
        raise RankwiseError(
            f"{what}: windows of {length} tokens, but the model has {positions} positions; "
            "make sample.….length no longer"
        )


def mean_loss(losses: Tensor) -> float:
    """Return the mean over all tokens, summed in float64 [nats/token]."""
    return float(losses.double().mean())


def to_perplexity(losses: Tensor, what: str = "perplexity") -> float:
    """Return exp(mean loss) over all tokens [-]; the module's docstring says which tokens count."""
    loss = mean_loss(losses)
    if loss > LARGEST_LOSS:
        raise RankwiseError(
            f"{what}: the mean loss is {loss:.0f} nats a token; its exponential is no number "
            f"(limit {LARGEST_LOSS:.0f}). The model is broken: keep more"
        )
    return math.exp(loss)
