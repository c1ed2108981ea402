"""Drawing windows of tokens: seeded, and no two roles ever share a window."""

import torch
from torch import Tensor

from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError


def draw_windows(
    stream: Tensor, length: int, sequences: int | None, seed: int, taken: Tokens | None, what: str
) -> tuple[Tensor, Tensor]:
    """Return windows [sequences, length] int32 of a token ``stream`` [tokens], and their starts.

    The stream is cut into consecutive windows (a last partial one cannot be used); windows that
    overlap one in ``taken`` are left out; ``sequences`` of the rest are drawn without replacement,
    or all are returned in order where ``sequences`` is None. The draw depends on the seed and on the
    number of windows to choose from.
    """
    starts = torch.arange(0, len(stream) - length + 1, length)
    if taken is not None:
        width = taken.ids.shape[1]
        covered = torch.zeros(len(stream) + 1, dtype=torch.int64)
        for begin in taken.starts.tolist():
            covered[begin + 1 : begin + width + 1] = 1
        before = covered.cumsum(0)
        starts = starts[before[starts + length] == before[starts]]
    if sequences is not None:
        if sequences > len(starts):
            raise RankwiseError(
                f"{what}: {sequences} sequences of {length} tokens asked, the text has {len(stream):,} tokens, "
                f"enough for {len(starts)}; give more text, or lower sequences or length"
            )
        generator = torch.Generator().manual_seed(seed)
        starts = starts[torch.randperm(len(starts), generator=generator)[:sequences]]
    elif not len(starts):
        raise RankwiseError(
            f"{what}: one window is {length} tokens, the text has {len(stream):,}; give more text or lower length"
        )
    windows = stream[starts[:, None] + torch.arange(length)]
    return windows.to(torch.int32), starts
