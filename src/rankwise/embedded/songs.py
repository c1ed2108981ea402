"""Songs: a verse of chance words and its repetition, so that text teaches to look back."""

from random import Random

from rankwise.embedded.people import Split, pair, sentence
from rankwise.embedded.world import COLORS, PEOPLE, PLACES, THINGS

_WORDS = (*THINGS, *PLACES, *COLORS, *PEOPLE)


def song(rng: Random, split: Split) -> list[str]:
    """Two singers, a verse of four to ten words, and the verse again once or twice."""
    first, second = pair(rng, split, same_gender=rng.random() < 0.5)
    verse = " ".join(rng.sample(_WORDS, rng.randint(4, 10)))
    lines = [f"{first} sang to {second} : {verse}"]
    lines += [f"again {name} sang : {verse}" for name in (second, first)[: rng.randint(1, 2)]]
    return [sentence(line) for line in lines]
