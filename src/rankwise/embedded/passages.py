"""Passages that state facts once and questions about them (BoolQ).

A passage gives each of two to four subjects a value: a place, an owner, a colour. Some passages
tell a later change, after which only the new value holds. Questions are open ("where is ...") or
answered by yes or no; for some of the "no" the asked value belongs to another subject of the same
passage, so that its being mentioned does not give the answer away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rankwise.embedded.people import Split, ask, pair, sentence
from rankwise.embedded.world import COLORS, PEOPLE, PLACES, THINGS

NEARBY = 0.25
"""Share of the "no" questions whose value belongs to another subject of the passage, if any does."""


@dataclass(frozen=True)
class Told:
    """One stated fact: its subject, its value, other possible values, and how it is asked."""

    subject: str
    value: str
    pool: Sequence[str]
    open_question: str
    polar_question: str
    open_answer: str = "{v}"

    def polar(self, value: str) -> str:
        """The yes/no question whether the subject has `value`."""
        return self.polar_question.format(x=self.subject, v=value)


@dataclass(frozen=True)
class Passage:
    """Sentences and the facts that hold at their end."""

    sentences: list[str]
    told: list[Told]


def _place_fact(subject: str, place: str) -> Told:
    return Told(subject, place, PLACES, "where is {x}", "is {x} in the {v}", "in the {v}")


def _crowd(rng: Random, split: Split, count: int) -> list[str]:
    """Different people; the first two are a pair of the split."""
    first, second = pair(rng, split, same_gender=rng.random() < 0.5)
    others = [name for name in PEOPLE if name not in (first, second)]
    return [first, second, *rng.sample(others, count - 2)]


def places(rng: Random, split: Split) -> Passage:
    """Things and people, each in its own place."""
    count = rng.randint(2, 4)
    subjects = [f"the {thing}" for thing in rng.sample(THINGS, count - 1)]
    subjects.append(_crowd(rng, split, 2)[0])
    rng.shuffle(subjects)
    told = [_place_fact(x, p) for x, p in zip(subjects, rng.sample(PLACES, count), strict=True)]
    wordings = ("{x} is in the {v}", "in the {v} we see {x}")
    lines = [sentence(rng.choice(wordings).format(x=t.subject, v=t.value)) for t in told]
    return Passage(lines, told)


def owners(rng: Random, split: Split) -> Passage:
    """People with a coloured thing each; asked for the owner or for the colour."""
    people = _crowd(rng, split, rng.randint(2, 3))
    things = rng.sample(THINGS, len(people))
    colors = rng.sample(COLORS, len(people))
    lines, told = [], []
    for name, thing, color in zip(people, things, colors, strict=True):
        lines.append(sentence(f"{name} has the {color} {thing}"))
        x = f"the {thing}"
        told.append(Told(x, name, PEOPLE, "who has {x}", "does {v} have {x}"))
        told.append(Told(x, color, COLORS, "what color is {x}", "is {x} {v}"))
    return Passage(lines, told)


def moves(rng: Random, split: Split) -> Passage:
    """People go to places; one of them goes on to another place."""
    people = _crowd(rng, split, rng.randint(2, 3))
    spots = rng.sample(PLACES, len(people) + 1)
    where = dict(zip(people, spots, strict=False))
    lines = [sentence(f"{name} went to the {place}") for name, place in where.items()]
    mover = rng.choice(people)
    where[mover] = spots[-1]
    lines.append(sentence(f"then {mover} left and went to the {spots[-1]}"))
    return Passage(lines, [_place_fact(name, place) for name, place in where.items()])


def gifts(rng: Random, split: Split) -> Passage:
    """People have things; one thing is given to the next person."""
    people = _crowd(rng, split, rng.randint(2, 3))
    things = rng.sample(THINGS, len(people))
    owner = dict(zip(things, people, strict=True))
    lines = [sentence(f"{name} had the {thing}") for thing, name in owner.items()]
    owner[things[0]] = people[1]
    lines.append(sentence(f"then {people[0]} gave the {things[0]} to {people[1]}"))
    told = [
        Told(f"the {thing}", name, PEOPLE, "who has {x}", "does {v} have {x}")
        for thing, name in owner.items()
    ]
    return Passage(lines, told)


KINDS: tuple[Callable[[Random, Split], Passage], ...] = (places, owners, moves, gifts)


def passage(rng: Random, split: Split) -> Passage:
    """A passage of any kind."""
    return rng.choice(KINDS)(rng, split)


def polar_question(rng: Random, given: Passage, answer: bool) -> str:
    """A yes/no question about one told fact, with the wanted answer."""
    fact = rng.choice(given.told)
    if answer:
        return fact.polar(fact.value)
    nearby = [t.value for t in given.told if t.pool is fact.pool and t.value != fact.value]
    if nearby and rng.random() < NEARBY:
        return fact.polar(rng.choice(nearby))
    return fact.polar(rng.choice([v for v in fact.pool if v != fact.value]))


def asked(rng: Random, split: Split) -> list[str]:
    """A document: a passage and up to six different answered questions about it."""
    given = passage(rng, split)
    answered = {}
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.4:
            fact = rng.choice(given.told)
            question = fact.open_question.format(x=fact.subject)
            answered[question] = fact.open_answer.format(v=fact.value)
        else:
            truth = rng.random() < 0.5
            answered[polar_question(rng, given, truth)] = "yes" if truth else "no"
    return [*given.sentences, *(ask(question, answer) for question, answer in answered.items())]
