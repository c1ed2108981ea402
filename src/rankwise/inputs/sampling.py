"""Seeded sampling of token windows; two roles never share a window."""

import torch
from torch import Tensor

from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError


def draw_windows(
    stream: Tensor, length: int, sequences: int | None, seed: int, taken: Tokens | None, what: str
) -> tuple[Tensor, Tensor]:
    """Return windows [sequences, length] int32 of a token ``stream`` [tokens], and their starts.

    The function cuts the stream into consecutive windows, without a last partial one, and excludes
    those that overlap a window in ``taken``. It draws ``sequences`` of the others without replacement,
    or returns all in order where ``sequences`` is None. The draw depends on the seed and on the number
    of windows to choose from. ``what`` names the role in errors. Raises RankwiseError where the text
    has too few windows.
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
