"""World knowledge as sentences and questions: facts (ARC) and ways to reach a goal (PIQA).

Every question comes in three wordings. For each fact one wording is *kept* for the task and never
appears in any text; the fact itself is told there by statements, stories and the other wordings.
"""

from dataclasses import dataclass
from random import Random

from rankwise.embedded.people import Split, ask, sentence, subject_pronoun
from rankwise.embedded.world import ANIMALS, JOBS, PEOPLE, PLANTS, TOOLS, Tool

WORDINGS = 3


@dataclass(frozen=True)
class Relation:
    """How one kind of fact is told and asked; {x} is the subject, {v} the value."""

    name: str
    told: tuple[str, str]
    asked: tuple[str, str, str]
    answer: str


@dataclass(frozen=True)
class Fact:
    """A fixed truth of the world; `kept` is the wording that only the task uses."""

    relation: Relation
    subject: str
    value: str
    kept: int

    def question(self, wording: int) -> str:
        """The question in one of the three wordings, without its question mark."""
        return self.relation.asked[wording].format(x=self.subject)

    def answer(self, value: str | None = None) -> str:
        """The answer phrase for the true value, or for another one."""
        return self.relation.answer.format(v=value or self.value)


def _relation(name: str, told: str, asked: str, answer: str = "{v}") -> Relation:
    first, second = told.split(" / ")
    one, two, three = asked.split(" / ")
    return Relation(name, (first, second), (one, two, three), answer)


_EATS = _relation(
    "eats",
    "the {x} eats {v} / we feed {v} to the {x}",
    "what does the {x} eat / which food does the {x} like / what is the food of the {x}",
)
_LIVES = _relation(
    "lives",
    "the {x} lives in the {v} / the {v} is the home of the {x}",
    "where does the {x} live / where does the {x} sleep / what is the home of the {x}",
    "the {v}",
)
_SAYS = _relation(
    "says",
    "the {x} says {v} / {v} is the sound of the {x}",
    "what does the {x} say / which sound does the {x} make / how does the {x} call",
)
_YOUNG = _relation(
    "young",
    "the young {x} is the {v} / the child of the {x} is the {v}",
    "what is the young {x} / what do we call the child of the {x} / who is the child of the {x}",
    "the {v}",
)
_COVER = _relation(
    "cover",
    "the {x} is covered with {v} / the {x} has {v}",
    "what covers the {x} / what is the {x} covered with / what does the {x} wear",
)
_MATERIAL = _relation(
    "material",
    "the {x} is made of {v} / {v} is what the {x} is made of",
    "what is the {x} made of / which stuff is in the {x} / of what do we make the {x}",
)
_KEPT = _relation(
    "kept",
    "the {x} is kept in the {v} / in the {v} we keep the {x}",
    "where is the {x} kept / where do we keep the {x} / where does the {x} belong",
    "the {v}",
)
_WORKS = _relation(
    "works",
    "the {x} works in the {v} / the {v} is the place of the {x}",
    "where does the {x} work / in which place is the {x} / where do we meet the {x}",
    "the {v}",
)
_MAKES = _relation(
    "makes",
    "the {x} makes {v} / we buy {v} from the {x}",
    "what does the {x} make / what do we buy from the {x} / what does the {x} sell",
)
_COLOR = _relation(
    "color",
    "the {x} is {v} / {v} is the color of the {x}",
    "what color is the {x} / what is the color of the {x} / how does the {x} look",
)
_TASTE = _relation(
    "taste",
    "the {x} tastes {v} / {v} is the taste of the {x}",
    "how does the {x} taste / what is the taste of the {x} / which taste does the {x} have",
)
_GROWS = _relation(
    "grows",
    "the {x} grows on the {v} / the {v} is where the {x} grows",
    "where does the {x} grow / on what does the {x} grow / where do we find the {x}",
    "the {v}",
)


def _all_facts() -> tuple[Fact, ...]:
    rows: list[tuple[Relation, str, str]] = []
    for a in ANIMALS:
        rows += [(_EATS, a.name, a.food), (_LIVES, a.name, a.home), (_SAYS, a.name, a.sound)]
        rows += [(_YOUNG, a.name, a.young), (_COVER, a.name, a.cover)]
    for t in TOOLS:
        rows += [(_MATERIAL, t.name, t.material), (_KEPT, t.name, t.home)]
    for j in JOBS:
        rows += [(_WORKS, j.name, j.place), (_MAKES, j.name, j.product)]
    for p in PLANTS:
        rows += [(_COLOR, p.name, p.color), (_TASTE, p.name, p.taste), (_GROWS, p.name, p.grows)]
    return tuple(Fact(r, x, v, (i + i // 5) % WORDINGS) for i, (r, x, v) in enumerate(rows))


FACTS = _all_facts()


@dataclass(frozen=True)
class Goal:
    """Something to be done to a target with the one tool that serves; `kept` as in `Fact`."""

    tool: Tool
    target: str
    kept: int

    def question(self, wording: int, person: str) -> str:
        """How to reach the goal, in one of the three wordings."""
        deed = f"{self.tool.verb} the {self.target}"
        return (
            f"what is the way to {deed}",
            f"how can {person} {deed}",
            f"{person} wants to {deed} , what should {subject_pronoun(person)} do",
        )[wording]


def means(wording: int, person: str, tool: Tool) -> str:
    """The answer that proposes `tool`, in the shape that belongs to the wording."""
    who = subject_pronoun(person)
    return (
        f"go to the {tool.home} and bring the {tool.name}",
        f"{who} can use the {tool.name}",
        f"{who} should take the {tool.name} from the {tool.home}",
    )[wording]


GOALS = tuple(
    Goal(tool, target, (row + column) % WORDINGS)
    for row, tool in enumerate(TOOLS)
    for column, target in enumerate(tool.targets)
)


def wording(rng: Random, kept: int, split: Split) -> int:
    """The kept wording for the task, one of the other two for text."""
    return kept if split is Split.TASK else (kept + rng.randint(1, WORDINGS - 1)) % WORDINGS


def knowledge(rng: Random, split: Split) -> list[str]:
    """A document of statements and answered questions about facts, in any order."""
    parts = []
    for fact in rng.sample(FACTS, rng.randint(3, 7)):
        if rng.random() < 0.35:
            told = rng.choice(fact.relation.told)
            parts.append(sentence(told.format(x=fact.subject, v=fact.value)))
        else:
            parts.append(ask(fact.question(wording(rng, fact.kept, split)), fact.answer()))
    return parts


def advice(rng: Random, split: Split) -> list[str]:
    """A document of answered questions about goals."""
    parts = []
    for goal in rng.sample(GOALS, rng.randint(2, 5)):
        person = rng.choice(PEOPLE)
        number = wording(rng, goal.kept, split)
        parts.append(ask(goal.question(number, person), means(number, person, goal.tool)))
    return parts
