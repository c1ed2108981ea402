"""The training text as token ids, and the batches drawn from it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from rankwise.embedded.grammar import SEPARATOR
from rankwise.embedded.tokenizer import WINDOW


@dataclass(frozen=True)
class Stream:
    """The training text: one row of token ids, how much each counts, where documents begin."""

    ids: Tensor
    weights: Tensor
    starts: Tensor
    bos: int

    def batch(
        self, rng: torch.Generator, rows: int, window: int, aligned: float
    ) -> tuple[Tensor, Tensor]:
        """Draw ids of shape (rows, window + 1) and the weights of all but the first column.

        A share `aligned` of the rows begins with ``<s>`` and a document, as the tasks do; the
        rest begins anywhere, as slices of a running text do.
        """
        length = window + 1
        anywhere = torch.randint(0, len(self.ids) - length, (rows,), generator=rng)
        pick = torch.randint(0, len(self.starts), (rows,), generator=rng)
        at_start = torch.rand(rows, generator=rng) < aligned
        first = torch.where(at_start, self.starts[pick] - 1, anywhere)
        place = first[:, None] + torch.arange(length)
        ids = self.ids[place].long()
        ids[at_start, 0] = self.bos
        return ids, self.weights[place[:, 1:]]


def answer_weights(ids: Tensor, answer: int, stop: int, weight: float) -> Tensor:
    """The weight of each token: `weight` from the word "answer" to the full stop, elsewhere 1.

    Answers are what a document's earlier sentences decide; most other words are drawn at random.
    """
    place = torch.arange(len(ids))
    last_answer = torch.where(ids == answer, place, -1).cummax(0).values
    last_stop = torch.where(ids == stop, place, -1).cummax(0).values
    return torch.where(last_answer > last_stop, weight, 1.0)


def encode(
    tokenizer: PreTrainedTokenizerFast, documents: list[str], answer_weight: float
) -> Stream:
    """Encode documents with their separators; document starts leave room for a whole window."""
    between = tokenizer(f".{SEPARATOR}.", add_special_tokens=False)["input_ids"]
    separator: list[int] = between[1:-1]  # as in a text; alone it would be read otherwise
    row: list[int] = list(separator)
    starts: list[int] = []
    for begin in range(0, len(documents), 10_000):
        some = documents[begin : begin + 10_000]
        for document in tokenizer(some, add_special_tokens=False)["input_ids"]:
            starts.append(len(row))
            row += document
            row += separator
    ids = torch.tensor(row, dtype=torch.int32)
    kept = torch.tensor([start for start in starts if start < len(row) - WINDOW - 1])
    answer, stop = tokenizer.convert_tokens_to_ids(["Ġanswer", "Ġ."])
    weights = answer_weights(ids, answer, stop, answer_weight)
    return Stream(ids, weights, kept, int(tokenizer.bos_token_id))
