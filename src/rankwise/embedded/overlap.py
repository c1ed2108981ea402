"""How much of a text also stands in the training text: sentences, documents and 12-grams.

The language is small, so short sentences recur by chance. The measure of chance is another text
that was generated independently, from a seed of its own, and compared with the same training text.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NGRAM = 12


def sentences(document: str) -> list[str]:
    """The sentences of a document; an answered question counts as one."""
    return [part for part in document.removesuffix(" .").split(" . ") if part]


def ngrams(document: str) -> list[str]:
    """All runs of `NGRAM` words."""
    words = document.split()
    return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


@dataclass(frozen=True)
class Shares:
    """Shares between 0 and 1 of a text's parts that also stand in the training text."""

    sentences: float
    documents: float
    ngrams: float


class Probe:
    """A text's parts, and which of them have been seen in the training text so far."""

    def __init__(self, documents: list[str]) -> None:
        self.parts = (
            [part for document in documents for part in sentences(document)],
            list(documents),
            [part for document in documents for part in ngrams(document)],
        )
        self.wanted = tuple(set(parts) for parts in self.parts)
        self.seen: tuple[set[str], set[str], set[str]] = (set(), set(), set())

    def look(self, document: str) -> None:
        """Mark the parts that stand in one training document."""
        self.seen[0].update(self.wanted[0].intersection(sentences(document)))
        self.seen[1].update(self.wanted[1].intersection((document,)))
        self.seen[2].update(self.wanted[2].intersection(ngrams(document)))

    def shares(self) -> Shares:
        """The shares by occurrence: a sentence that stands twice in the text counts twice."""
        pairs = zip(self.parts, self.seen, strict=True)
        return Shares(
            *(sum(p in seen for p in parts) / max(1, len(parts)) for parts, seen in pairs)
        )


def overlap(texts: dict[str, list[str]], training: Iterable[str]) -> dict[str, Shares]:
    """The shares of each named text, in one pass over the training documents."""
    probes = {name: Probe(documents) for name, documents in texts.items()}
    for document in training:
        for probe in probes.values():
            probe.look(document)
    return {name: probe.shares() for name, probe in probes.items()}
