"""Choosing people, their pronouns, and which pairs of people are kept for the tasks.

An ordered pair of names is *reserved* by a fixed rule. Training, calibration, search and test text
only ever put free pairs into one document's two-person parts; the tasks only use reserved pairs.
So no sentence of a task that names two people can have been trained on.
"""

from collections.abc import Iterable
from enum import Enum
from random import Random

from rankwise.embedded.world import MEN, PEOPLE, WOMEN


class Split(Enum):
    """Who asks for text: the running text or the tasks, which get what text never shows."""

    TEXT = "text"
    TASK = "task"


_INDEX = {name: number for number, name in enumerate(PEOPLE)}
_RESERVED_EVERY = 6


def subject_pronoun(name: str) -> str:
    """'she' or 'he' for one of the world's names."""
    return "she" if name in WOMEN else "he"


def is_reserved(first: str, second: str) -> bool:
    """Whether the ordered pair belongs to the tasks (one pair in six does)."""
    return (_INDEX[first] + 2 * _INDEX[second]) % _RESERVED_EVERY == 0


def pair(rng: Random, split: Split, *, same_gender: bool) -> tuple[str, str]:
    """Two different people of the split, of one gender or of both."""
    while True:
        first_pool, second_pool = rng.choice(((WOMEN, MEN), (MEN, WOMEN)))
        first = rng.choice(first_pool)
        second = rng.choice(first_pool if same_gender else second_pool)
        if first != second and is_reserved(first, second) == (split is Split.TASK):
            return first, second


def indefinite(word: str) -> str:
    """The word with "a" or "an"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def sentence(words: str) -> str:
    """Words as a sentence: the full stop is a word of its own."""
    return f"{words} ."


def ask(question: str, answer: str) -> str:
    """A question with its answer in the one form that text and tasks share."""
    return f"{prompt(question)} {answer} ."


def prompt(question: str) -> str:
    """The question up to the colon after which a task's choices are scored."""
    return f"question : {question} ? answer :"


def join(parts: Iterable[str]) -> str:
    """A document from its sentences."""
    return " ".join(parts)
