"""Free stories: people move, find things, use tools, feed animals, and are asked for at the end.

A pronoun always means the subject of the sentence before it, so it agrees in number and gender
with the last name told. The closing sentences repeat where everybody is and what they have, which
the model can only know from sentences far back.
"""

from collections.abc import Callable
from random import Random

from rankwise.embedded.people import Split, indefinite, pair, sentence, subject_pronoun
from rankwise.embedded.world import (
    ANIMALS,
    COLORS,
    JOBS,
    PEOPLE,
    PLACES,
    PLANTS,
    THINGS,
    TIMES,
    TOOLS,
)


class Narrator:
    """Tells a story: keeps where everybody is, what they have, and who was named last."""

    def __init__(self, rng: Random, split: Split) -> None:
        self.rng = rng
        first, second = pair(rng, split, same_gender=rng.random() < 0.5)
        third = rng.choice([name for name in PEOPLE if name not in (first, second)])
        self.people = [first, second, third][: rng.randint(2, 3)]
        spots = rng.sample(PLACES, len(self.people))
        self.place = dict(zip(self.people, spots, strict=True))
        self.thing: dict[str, str] = {}
        colors = (rng.choice(COLORS) for _ in THINGS)
        self.free = [
            f"{c} {t}" for c, t in zip(colors, rng.sample(THINGS, len(THINGS)), strict=True)
        ]
        self.last = ""
        self.lines: list[str] = []

    def say(self, name: str, words: str) -> None:
        """Add a sentence about `name`: by pronoun where the last sentence was about them too."""
        known = self.last == name and self.rng.random() < 0.7
        who = subject_pronoun(name) if known else name
        opener = f"{self.rng.choice(TIMES)} " if self.lines and self.rng.random() < 0.3 else ""
        self.lines.append(sentence(f"{opener}{who} {words}"))
        self.last = name

    def go(self, name: str) -> None:
        """Move to another place."""
        place = self.rng.choice([p for p in PLACES if p != self.place[name]])
        verb = self.rng.choice(("went", "walked", "ran"))
        old = f"from the {self.place[name]} " if self.rng.random() < 0.5 else ""
        self.say(name, f"{verb} {old}to the {place}")
        self.place[name] = place

    def find(self, name: str) -> None:
        """Find a thing, or lay down the one at hand."""
        if name in self.thing:
            self.say(name, f"put the {self.thing.pop(name)} down")
            return
        thing = self.free.pop()
        verb = self.rng.choice(("found", "saw and took", "bought"))
        self.say(name, f"{verb} a {thing} in the {self.place[name]}")
        self.thing[name] = thing

    def give(self, name: str) -> None:
        """Give the thing at hand to somebody with free hands; without both, move."""
        takers = [p for p in self.people if p != name and p not in self.thing]
        if name not in self.thing or not takers:
            self.go(name)
            return
        taker = self.rng.choice(takers)
        self.thing[taker] = self.thing.pop(name)
        self.say(name, f"gave the {self.thing[taker]} to {taker}")

    def work(self, name: str) -> None:
        """Use a tool for its deed."""
        tool = self.rng.choice(TOOLS)
        target = self.rng.choice(tool.targets)
        if self.rng.random() < 0.5:
            self.say(name, f"took the {tool.name} from the {tool.home}")
            self.say(name, f"{tool.past} the {target} with it")
        else:
            self.say(name, f"{tool.past} the {target} with the {tool.name}")

    def meet_animal(self, name: str) -> None:
        """Meet an animal and learn one thing about it."""
        animal = self.rng.choice(ANIMALS)
        words = (
            f"saw {indefinite(animal.name)} near its {animal.home}",
            f"fed {animal.food} to the {animal.name}",
            f"heard the {animal.sound} of {indefinite(animal.name)}",
            f"found {indefinite(animal.young)} and brought it back to the {animal.name}",
            f"touched the {animal.cover} of the {animal.name}",
        )
        self.say(name, self.rng.choice(words))

    def eat(self, name: str) -> None:
        """Pick and eat a plant."""
        plant = self.rng.choice(PLANTS)
        self.say(name, f"took {indefinite(plant.color)} {plant.name} from the {plant.grows}")
        if self.rng.random() < 0.5:
            self.lines.append(sentence(f"it was {plant.taste}"))

    def shop(self, name: str) -> None:
        """Go to a worker and buy what they make."""
        job = self.rng.choice(JOBS)
        self.place[name] = job.place
        self.say(name, f"went to the {job.place} and bought {job.product} from the {job.name}")

    def close(self) -> None:
        """Say where everybody is and what they have."""
        for name in self.rng.sample(self.people, len(self.people)):
            has = f"the {self.thing[name]}" if name in self.thing else "nothing"
            self.lines.append(sentence(f"now {name} is in the {self.place[name]} and has {has}"))


EVENTS: tuple[Callable[[Narrator, str], None], ...] = (
    Narrator.go, Narrator.find, Narrator.find, Narrator.give, Narrator.work,
    Narrator.meet_animal, Narrator.meet_animal, Narrator.eat, Narrator.shop,
)  # fmt: skip


def story(rng: Random, split: Split) -> list[str]:
    """A story of three to six events."""
    narrator = Narrator(rng, split)
    for name, place in narrator.place.items():
        narrator.say(name, f"was in the {place}")
    name = rng.choice(narrator.people)
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.45:
            name = rng.choice(narrator.people)
        rng.choice(EVENTS)(narrator, name)
    narrator.close()
    return narrator.lines
