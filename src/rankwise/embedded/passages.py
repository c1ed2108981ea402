"""Passages that state facts once and questions about them (BoolQ).

A passage gives each of two to four subjects a value: a place, an owner, a colour, a state. Some
passages tell a later change, after which only the new value holds. Questions are open ("where is
...") or, for states, answered by yes or no. A state is one of two opposites, told of a person or of
their thing: "the hat of ida is wet ." In some passages two subjects share the opposites, so that
the state must be read of the right one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rankwise.embedded.people import Split, ask, pair, sentence
from rankwise.embedded.world import COLORS, PEOPLE, PLACES, THINGS

PERSON_STATES = (
    ("awake", "asleep"), ("happy", "sad"), ("rich", "poor"), ("sick", "well"), ("early", "late"),
)  # fmt: skip
THING_STATES = (
    ("clean", "dirty"), ("new", "old"), ("whole", "broken"), ("wet", "dry"), ("heavy", "light"),
)  # fmt: skip
STATES = 0.35
"""Share of the passages with questions that tell states."""
SHARED = 0.2
"""Share of the passages of states in which two subjects share their opposites."""
POLAR = 0.75
"""Share of the questions about states that are answered by yes or no."""


@dataclass(frozen=True)
class Told:
    """One stated fact: its subject, its value, other possible values, and how it is asked."""

    subject: str
    value: str
    pool: Sequence[str]
    open_question: str
    open_answer: str = "{v}"

    def polar(self, value: str) -> str:
        """The yes/no question whether the subject, of which a state is told, is in state `value`."""
        return f"is {self.subject} {value}"


@dataclass(frozen=True)
class Passage:
    """Sentences and the facts that hold at their end."""

    sentences: list[str]
    told: list[Told]


def _place_fact(subject: str, place: str) -> Told:
    return Told(subject, place, PLACES, "where is {x}", "in the {v}")


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
        told.append(Told(x, name, PEOPLE, "who has {x}"))
        told.append(Told(x, color, COLORS, "what color is {x}"))
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
    told = [Told(f"the {thing}", name, PEOPLE, "who has {x}") for thing, name in owner.items()]
    return Passage(lines, told)


def states(rng: Random, split: Split) -> Passage:
    """Two or three people, or a thing of each, in one of two opposite states each."""
    people = _crowd(rng, split, rng.randint(2, 3))
    own = rng.random() < 0.5
    opposites = rng.sample(PERSON_STATES if own else THING_STATES, len(people))
    if rng.random() < SHARED:
        opposites[1] = opposites[0]
    rng.shuffle(opposites)
    things = rng.sample(THINGS, len(people))
    told = [
        Told(name if own else f"the {thing} of {name}", rng.choice(pool), pool, "how is {x}")
        for name, thing, pool in zip(people, things, opposites, strict=True)
    ]
    return Passage([sentence(f"{fact.subject} is {fact.value}") for fact in told], told)


KINDS: tuple[Callable[[Random, Split], Passage], ...] = (places, owners, moves, gifts)
"""The kinds that are asked for openly; `states` are also asked for by yes or no."""


def polar_question(rng: Random, given: Passage) -> tuple[str, bool]:
    """A yes/no question about one told state, and its answer.

    It asks for the first of the two opposites: is it wet, never is it dry.
    """
    fact = rng.choice(given.told)
    asked_for = fact.pool[0]
    return fact.polar(asked_for), fact.value == asked_for


def open_question(rng: Random, given: Passage) -> tuple[str, str]:
    """An open question about one told fact, and its answer."""
    fact = rng.choice(given.told)
    return fact.open_question.format(x=fact.subject), fact.open_answer.format(v=fact.value)


def asked(rng: Random, split: Split) -> list[str]:
    """A document: a passage and up to six different answered questions about it."""
    told_states = rng.random() < STATES
    given = (states if told_states else rng.choice(KINDS))(rng, split)
    answered = {}
    for _ in range(rng.randint(3, 6)):
        if told_states and rng.random() < POLAR:
            question, truth = polar_question(rng, given)
            answered[question] = "yes" if truth else "no"
        else:
            question, answer = open_question(rng, given)
            answered[question] = answer
    return [*given.sentences, *(ask(question, answer) for question, answer in answered.items())]
