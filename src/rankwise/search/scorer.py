"""Scoring allocations on search text: one model in memory, ranks by slicing, no copy of anything."""

import hashlib
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Masks, TrialScore
from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Choices
from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json
from rankwise.files.checksummed import sha256
from rankwise.model.sliced_linear import SlicedLinear
from rankwise.params.runs import Run


def hash_search_inputs(
    allocator: ScoringAllocator, run: Run, dtype: str, inputs: list[Path]
) -> str:
    """Return the hash of all that a trial depends on; the number of trials is not among it."""
    settings = [
        allocator.model_dump(mode="json", exclude={"trials"}),
        str(run.target),
        run.way,
        dtype,
    ]
    value = [type(allocator).__name__, settings, [sha256(path) for path in inputs]]
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def refuse_beyond(sequences: list[int], count: int) -> None:
    """Refuse sequences by index that a search text of ``count`` does not have."""
    if not 0 <= min(sequences) <= max(sequences) < count:
        raise RankwiseError(
            f"sequences {str(sequences)[:200]} asked, the search text has 0 to {count - 1}; "
            "the suggestion is that of another text: remove its file, then rankwise run"
        )


def _reserve_disk(path: Path, size: int) -> None:
    """Make a file of ``size`` bytes that has them all: where a disk fills up later, a write to mapped memory is the process's end."""
    try:
        with path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        raise RankwiseError(
            f"{path} could not be written ({error.strerror}): the dense model's predictions of the search text "
            f"take {size / 1e6:,.1f} MB; make room there, or name another folder by TMPDIR"
        ) from error


class SearchModel:
    """A dense model whose factored linears can be set to any choices, and the search text.

    The dense model's log-probabilities are computed once and kept in a memory-mapped temporary file
    of 4·sequences·length·vocabulary bytes, so that a trial costs one forward pass of the sliced model.
    """

    def __init__(self, model: Any, factors: dict[str, Factors], ids: Tensor, batch: int) -> None:
        self.model, self.batch = model, batch
        self.ids = ids.long().to(model.device)
        self.sliced: dict[str, SlicedLinear] = {}
        for name, linear in factors.items():
            self.sliced[name] = SlicedLinear(model.get_submodule(name), linear.to(model.device))
            model.set_submodule(name, self.sliced[name])
        self._dense = self._dense_log_probabilities()

    def score(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Return perplexity, KL(compressed ‖ dense) per token and the loss of every sequence.

        Of all sequences or of those named by index. Counts the last length−1 tokens of every window.
        Cost: one forward pass over these sequences.
        """
        for name, linear in self.sliced.items():
            linear.choose(choices[name])
        return self._measured(sequences)

    def score_masks(self, masks: Masks) -> TrialScore:
        """Return the same under any subset of components and entries of every linear."""
        for name, linear in self.sliced.items():
            components, entries = masks[name]
            linear.mask(torch.from_numpy(components), torch.from_numpy(entries))
        return self._measured()

    @torch.no_grad()
    def _measured(self, sequences: list[int] | None = None) -> TrialScore:
        """Return the score of the model as it is set."""
        if sequences is not None:
            refuse_beyond(sequences, len(self.ids))
        which = torch.arange(len(self.ids)) if sequences is None else torch.tensor(sequences)
        losses = []
        kl = torch.zeros((), dtype=torch.float64, device=self.ids.device)
        for rows in which.split(self.batch):
            part = self.ids[rows]
            ours = self._log_probabilities(part)
            dense = self._dense[rows].to(ours.device)
            losses.append(-ours.gather(-1, part[:, 1:, None]).mean((1, 2), dtype=torch.float64))
            kl += functional.kl_div(dense, ours, reduction="sum", log_target=True).double()
        loss = torch.cat(losses)
        count = len(which) * (self.ids.shape[1] - 1)
        return TrialScore(float(loss.mean().exp()), float(kl / count), tuple(loss.tolist()))

    def _log_probabilities(self, ids: Tensor) -> Tensor:
        """[sequences, length−1, vocabulary] float32: prediction of every token but the first."""
        logits = self.model(ids, use_cache=False).logits[:, :-1]
        return logits.float().log_softmax(-1)

    @torch.no_grad()
    def _dense_log_probabilities(self) -> Tensor:
        sequences, length = self.ids.shape
        shape = sequences, length - 1, self.model.config.vocab_size
        with tempfile.TemporaryDirectory(prefix="rankwise-") as folder:
            # The mapping outlives its name: nothing is left behind however this process ends.
            path = Path(folder) / "dense"
            _reserve_disk(path, 4 * math.prod(shape))
            kept = torch.from_file(str(path), shared=True, size=math.prod(shape)).view(shape)
        for begin in range(0, sequences, self.batch):
            part = self.ids[begin : begin + self.batch]
            kept[begin : begin + len(part)] = self._log_probabilities(part).cpu()
        return kept
