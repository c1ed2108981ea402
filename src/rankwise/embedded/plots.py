"""Short stories with an ending that follows from them (HellaSwag).

An ending depends on two things at once, such as who acts and what is held. Each has one other
value that the story makes plausible, so a plot has four endings: both right, one wrong, the other
wrong, both wrong. Every part occurs in two of the four, so the endings without the story say
nothing about which is right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from rankwise.embedded.people import Split, indefinite, pair, sentence, subject_pronoun
from rankwise.embedded.world import ANIMALS, COLORS, JOBS, PLACES, THINGS, TOOLS


@dataclass(frozen=True)
class Plot:
    """A story, and its four endings in a fixed order; the first is the true one."""

    sentences: list[str]
    endings: tuple[str, str, str, str]

    @property
    def document(self) -> list[str]:
        """The story with its true ending."""
        return [*self.sentences, self.endings[0]]


def _cross(pattern: str, first: tuple[str, str], second: tuple[str, str]) -> tuple[str, ...]:
    """The four endings; of each couple the first is right. {a} and {b} stand in the pattern."""
    return tuple(sentence(pattern.format(a=a, b=b)) for a in first for b in second)


def _plot(lines: list[str], pattern: str, a: tuple[str, str], b: tuple[str, str]) -> Plot:
    one, two, three, four = _cross(pattern, a, b)
    return Plot([sentence(line) for line in lines], (one, two, three, four))


def _pronouns(name: str) -> tuple[str, str]:
    """The right and the wrong pronoun."""
    right = subject_pronoun(name)
    return right, "he" if right == "she" else "she"


def _two_things(rng: Random) -> tuple[str, str]:
    """Two things, each with a colour of its own."""
    (one, two), (color, hue) = rng.sample(THINGS, 2), rng.sample(COLORS, 2)
    return f"{color} {one}", f"{hue} {two}"


def leaving(rng: Random, split: Split) -> Plot:
    """Two people with a thing each in two places; one of them leaves with what is theirs."""
    hero, other = pair(rng, split, same_gender=False)
    (one, two), (here, there) = _two_things(rng), rng.sample(PLACES, 2)
    lines = [
        f"{hero} was in the {here} with a {one}",
        f"{other} was in the {there} with a {two}",
    ]
    rng.shuffle(lines)
    lines.append(f"in the evening {hero} grew tired and wanted to go home")
    if rng.random() < 0.5:
        return _plot(lines, "so {a} left the {b}", _pronouns(hero), (here, there))
    return _plot(lines, "so {a} went home with the {b}", _pronouns(hero), (one, two))


def feeding(rng: Random, split: Split) -> Plot:
    """Somebody with two foods meets a hungry animal that eats only one of them."""
    hero, other = pair(rng, split, same_gender=False)
    animal, wrong = rng.sample(ANIMALS, 2)
    while wrong.food == animal.food:
        wrong = rng.choice(ANIMALS)
    foods = [animal.food, wrong.food]
    rng.shuffle(foods)
    lines = [
        f"{other} was at home",
        f"{hero} walked to the {rng.choice(PLACES)} with {foods[0]} and {foods[1]} in a basket",
        f"there {subject_pronoun(hero)} saw a hungry {animal.name}",
    ]
    pattern = "so {a} gave the " + animal.name + " some {b}"
    return _plot(lines, pattern, _pronouns(hero), (animal.food, wrong.food))


def working(rng: Random, split: Split) -> Plot:
    """Two people each want a deed done; one has both tools and uses the fitting one."""
    hero, other = pair(rng, split, same_gender=False)
    tool, wrong = rng.sample(TOOLS, 2)
    target = rng.choice(tool.targets)
    names = [tool.name, wrong.name]
    rng.shuffle(names)
    lines = [
        f"{hero} wanted to {tool.verb} the {target}",
        f"{other} brought {indefinite(names[0])} and {indefinite(names[1])}",
    ]
    pattern = "then {a} took the {b} and " + f"{tool.past} the {target}"
    return _plot(lines, pattern, (hero, other), (tool.name, wrong.name))


def searching(rng: Random, split: Split) -> Plot:
    """Two people have lost a thing each; one looks in two places and finds theirs in the second."""
    hero, other = pair(rng, split, same_gender=False)
    (one, two), (here, there) = _two_things(rng), rng.sample(PLACES, 2)
    lines = [f"{hero} had lost the {one}", f"{other} had lost the {two}"]
    rng.shuffle(lines)
    lines.append(f"{hero} looked in the {here} but it was not there")
    lines.append(f"then {subject_pronoun(hero)} went to the {there} and looked again")
    return _plot(lines, "there was the {a} , in the {b}", (one, two), (there, here))


def trading(rng: Random, split: Split) -> Plot:
    """Two people meet, each with a thing, and trade."""
    hero, other = pair(rng, split, same_gender=False)
    one, two = _two_things(rng)
    lines = [
        f"{hero} had a {one} and {other} had a {two}",
        f"they met in the {rng.choice(PLACES)} and gave their things to each other",
        f"{hero} liked the new thing",
    ]
    return _plot(lines, "so {a} was glad to have the {b}", _pronouns(hero), (two, one))


def visiting(rng: Random, split: Split) -> Plot:
    """Somebody visits a worker at the place of the trade and buys what the trade makes."""
    hero, other = pair(rng, split, same_gender=False)
    job, wrong = rng.sample(JOBS, 2)
    lines = [
        f"{hero} went to see the {job.name} and {other} went to see the {wrong.name}",
        f"{hero} came home first",
    ]
    pattern = "{a} had been in the " + job.place + " and had bought {b}"
    return _plot(lines, pattern, _pronouns(hero), (job.product, wrong.product))


KINDS: tuple[Callable[[Random, Split], Plot], ...] = (
    leaving, feeding, working, searching, trading, visiting,
)  # fmt: skip


def plot(rng: Random, split: Split) -> Plot:
    """A plot of any kind."""
    return rng.choice(KINDS)(rng, split)
