"""KL divergence of a model's predictions from the dense model's, token by token on test text."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm


@torch.no_grad()
def measure_divergence(model: Any, dense: Any, ids: Tensor, batch: int) -> tuple[float, float]:
    """Return KL(dense ‖ model) [nats/token] and the share of tokens whose likeliest successor agrees [-].

    Both are means over all predicted tokens of ``ids`` [windows, length], the tokens that perplexity
    counts. Both models are on one device. Logits are normalised in float32, window by window; sums
    are in float64. Cost: one forward pass of each model.
    """
    kl = same = 0.0
    for begin in tqdm(range(0, len(ids), batch), "divergence", disable=None, leave=False):
        part = ids[begin : begin + batch].to(dense.device, torch.long)
        logits = [
            causal_lm(input_ids=part, use_cache=False).logits[:, :-1]
            for causal_lm in (model, dense)
        ]
        for ours, theirs in zip(*logits, strict=True):
            log, target = ours.float().log_softmax(-1), theirs.float().log_softmax(-1)
            each = functional.kl_div(log, target, reduction="none", log_target=True)
            kl += float(each.sum(dtype=torch.float64))
            same += float((ours.argmax(-1) == theirs.argmax(-1)).sum())
    count = len(ids) * (ids.shape[1] - 1)
    return kl / count, same / count
