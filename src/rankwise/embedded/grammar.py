"""Documents and texts: the mixture of all forms, drawn from one seeded `random.Random`."""

from collections.abc import Callable
from random import Random

from rankwise.embedded.facts import advice, knowledge
from rankwise.embedded.passages import asked
from rankwise.embedded.people import Split, join
from rankwise.embedded.plots import plot
from rankwise.embedded.pronouns import schemas
from rankwise.embedded.songs import song
from rankwise.embedded.stories import story

SEPARATOR = "\n\n"
"""What lies between two documents of a text: a blank line."""

SEEDS = {
    "train": 1001,
    "train again": 1002,
    "calibration": 2002,
    "search": 3003,
    "test": 4004,
    "tasks": 5005,
}
"""One seed a text, so that no two texts share a random stream."""


def _plots(rng: Random, split: Split) -> list[str]:
    return plot(rng, split).document


FORMS: tuple[tuple[str, Callable[[Random, Split], list[str]], int], ...] = (
    ("story", story, 15),
    ("plot", _plots, 24),
    ("passage with questions", asked, 30),
    ("pronouns", schemas, 22),
    ("knowledge", knowledge, 24),
    ("advice", advice, 6),
    ("song", song, 6),
)
"""Every form of document: its name, its generator and its weight in the mixture."""

_GENERATORS = [generator for _, generator, _ in FORMS]


def document(rng: Random, passages: int = 1) -> str:
    """One document, on one line; passages with questions come `passages` times as often."""
    weights = [w * passages if generator is asked else w for _, generator, w in FORMS]
    generator = rng.choices(_GENERATORS, weights)[0]
    return join(generator(rng, Split.TEXT))


def documents(seed: int, characters: int, passages: int = 1) -> list[str]:
    """Documents until their text has at least `characters` characters; the same for a seed."""
    rng = Random(seed)  # noqa: S311 - text, not secrets
    drawn: list[str] = []
    size = 0
    while size < characters:
        drawn.append(document(rng, passages))
        size += len(drawn[-1]) + len(SEPARATOR)
    return drawn


def text(seed: int, characters: int) -> str:
    """The documents of a seed as one text that ends with a line break."""
    return SEPARATOR.join(documents(seed, characters)) + "\n"
