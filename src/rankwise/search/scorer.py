"""Scoring of allocations on search text: one model in memory, ranks by slicing, no copies."""

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
    """Return the hash of all inputs of a trial; the number of trials is not one of them."""
    settings = [
        allocator.model_dump(mode="json", exclude={"trials"}),
        str(run.target),
        run.way,
        dtype,
    ]
    value = [type(allocator).__name__, settings, [sha256(path) for path in inputs]]
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def refuse_beyond(sequences: list[int], count: int) -> None:
    """Raise RankwiseError for indices outside a search text of ``count`` sequences."""
    if not 0 <= min(sequences) <= max(sequences) < count:
        raise RankwiseError(
            f"sequences {str(sequences)[:200]} asked, the search text has 0 to {count - 1}; "
            "the suggestion is that of another text: remove its file, then rankwise run"
        )


def _reserve_disk(path: Path, size: int) -> None:
    """Create a file of ``size`` bytes with all its disk blocks; on a full disk a later mapped write would kill the process."""
    try:
        with path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        raise RankwiseError(
            f"{path} could not be written ({error.strerror}): the dense model's predictions of the search text "
            f"take {size / 1e6:,.1f} MB; make room there, or name another folder by TMPDIR"
        ) from error


class SearchModel:
    """The search text, and a dense model whose factored linears can be set to any choices.

    The dense model's log-probabilities are computed once and stored in a memory-mapped temporary file
    of 4·sequences·(length−1)·vocabulary bytes. A trial costs one forward pass of the sliced model.
    """

    def __init__(self, model: Any, factors: dict[str, Factors], ids: Tensor, batch: int) -> None:
        self.model, self.batch = model, batch
        self.ids = ids.long().to(model.device)
        self.sliced: dict[str, SlicedLinear] = {}
        for name, linear in factors.items():
            self.sliced[name] = SlicedLinear(model.get_submodule(name), linear.to(model.device))
            model.set_submodule(name, self.sliced[name])
        self._dense = self._map_dense_predictions()

    def score(self, choices: Choices, sequences: list[int] | None = None) -> TrialScore:
        """Return perplexity, KL(compressed ‖ dense) per token and the loss of every sequence.

        ``sequences`` are indices; None means all. Counts the last length−1 tokens of every window.
        Cost: one forward pass over these sequences.
        """
        for name, linear in self.sliced.items():
            linear.choose(choices[name])
        return self._score_current(sequences)

    def score_masks(self, masks: Masks) -> TrialScore:
        """Return the same score for any subset of components and nonzeros of every linear."""
        for name, linear in self.sliced.items():
            components, nonzeros = masks[name]
            linear.mask(torch.from_numpy(components), torch.from_numpy(nonzeros))
        return self._score_current()

    @torch.no_grad()
    def _score_current(self, sequences: list[int] | None = None) -> TrialScore:
        """Return the score of the model with its current choices."""
        if sequences is not None:
            refuse_beyond(sequences, len(self.ids))
        indices = torch.arange(len(self.ids)) if sequences is None else torch.tensor(sequences)
        losses = []
        kl = torch.zeros((), dtype=torch.float64, device=self.ids.device)
        for rows in indices.split(self.batch):
            part = self.ids[rows]
            ours = self._predict(part)
            dense = self._dense[rows].to(ours.device)
            losses.append(-ours.gather(-1, part[:, 1:, None]).mean((1, 2), dtype=torch.float64))
            kl += functional.kl_div(dense, ours, reduction="sum", log_target=True).double()
        loss = torch.cat(losses)
        count = len(indices) * (self.ids.shape[1] - 1)
        return TrialScore(float(loss.mean().exp()), float(kl / count), tuple(loss.tolist()))

    def _predict(self, ids: Tensor) -> Tensor:
        """Return log-probabilities [sequences, length−1, vocabulary] float32 of every token but the first."""
        logits = self.model(ids, use_cache=False).logits[:, :-1]
        return logits.float().log_softmax(-1)

    @torch.no_grad()
    def _map_dense_predictions(self) -> Tensor:
        sequences, length = self.ids.shape
        shape = sequences, length - 1, self.model.config.vocab_size
        with tempfile.TemporaryDirectory(prefix="rankwise-") as folder:
            # The mapping outlives the file's name: no file remains, however this process ends.
            path = Path(folder) / "dense"
            _reserve_disk(path, 4 * math.prod(shape))
            log_probabilities = torch.from_file(str(path), shared=True, size=math.prod(shape)).view(
                shape
            )
        for begin in range(0, sequences, self.batch):
            part = self.ids[begin : begin + self.batch]
            log_probabilities[begin : begin + len(part)] = self._predict(part).cpu()
        return log_probabilities
