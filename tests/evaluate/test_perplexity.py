"""Perplexity against an independent computation."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rankwise.errors import RankwiseError
from rankwise.evaluate.perplexity import mean_loss, to_perplexity, window_losses


def reference(model: Any, ids: Tensor) -> float:
    """Token by token, each from a pass over nothing but the tokens before it."""
    total, count = 0.0, 0
    for window in ids.long():
        for place in range(1, len(window)):
            with torch.no_grad():
                logits = model(input_ids=window[None, :place]).logits[0, -1].double().numpy()
            total += (
                np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[window[place]]
            )
            count += 1
    return math.exp(total / count)


@pytest.mark.parametrize(("length", "batch"), [(7, 2), (24, 3)])
def test_equals_reference(model: Any, length: int, batch: int) -> None:
    ids = torch.randint(
        13, (5, length), generator=torch.Generator().manual_seed(length), dtype=torch.int32
    )
    losses = window_losses(model, ids, batch)
    assert losses.shape == (5, length - 1)
    assert to_perplexity(losses) == pytest.approx(reference(model, ids), rel=1e-5)
    assert to_perplexity(losses) == math.exp(mean_loss(losses))


class Constant(nn.Module):
    """Logits that are the same everywhere, but for chosen windows."""

    def __init__(self, vocabulary: int, broken: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.vocabulary, self.broken, self.seen = vocabulary, broken, 0

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        logits = torch.full((*input_ids.shape, self.vocabulary), 3.0)
        for row in range(len(input_ids)):
            if self.seen + row in self.broken:
                logits[row, 2, 1] = math.nan
        self.seen += len(input_ids)
        return SimpleNamespace(logits=logits)


def test_uniform_logits_give_the_vocabulary() -> None:
    ids = torch.randint(1000, (4, 16), generator=torch.Generator().manual_seed(0))
    assert to_perplexity(window_losses(Constant(1000), ids, 3)) == pytest.approx(1000, rel=1e-6)


def test_window_that_is_not_finite_is_named() -> None:
    ids = torch.zeros(7, 5, dtype=torch.int32)
    with pytest.raises(RankwiseError, match=r"run 'a', text 'b': window 3 \(of 7; 2 in all\)"):
        window_losses(Constant(8, broken=(3, 6)), ids, 2, "run 'a', text 'b'")


def test_loss_beyond_exponential_is_refused() -> None:
    with pytest.raises(RankwiseError, match="1000 nats"):
        to_perplexity(torch.full((2, 3), 1000.0))
