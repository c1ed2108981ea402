"""Who is meant by a pronoun: agreement in gender, or the role a deed gives (WinoGrande).

"tom thanked ben because he had helped ." The deed and the reason together decide whether the
pronoun means the doer or the other. The same reason points to the doer with one deed and to the
other with the next, so neither half decides alone.
"""

from dataclasses import dataclass
from random import Random

from rankwise.embedded.people import Split, ask, join, pair, prompt, sentence, subject_pronoun
from rankwise.embedded.world import PLACES

_RULES = """
thanked : was grateful, had won a gift : had helped, was kind
paid : was rich, had lost the game : had worked hard, had won the game
carried : was strong, was kind : was hurt, was tired
followed : was lost, was curious : knew the way, was the leader
taught : was wise, knew the answer : was eager to learn, had asked
asked : was curious, was eager to learn : knew the answer, was wise
fed : was kind, had cooked : was hungry, was weak
begged : was hungry, was poor : was rich, had bread
hid from : was afraid, had broken the jug : was angry, was strong
scolded : was angry, was strict : was late, had broken the jug
praised : was proud, was kind : had won the game, had worked hard
woke : was early, was afraid : was late, was asleep
visited : was lonely, was curious : was sick, had asked
comforted : was gentle, was wise : was sad, had lost the game
envied : was poor, was sad : was rich, was strong
chased : was angry, was fast : was a thief, was afraid
"""

_NEUTRAL_DEEDS = ("met", "saw", "greeted", "passed", "stood near", "waited for")
_NEUTRAL_REASONS = (
    "was tired", "was hungry", "was lost", "was sad",
    "was sick", "was early", "was late", "was poor",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A deed with a reason, and whether the reason's pronoun means the doer."""

    deed: str
    reason: str
    means_doer: bool


def _rules() -> tuple[Rule, ...]:
    rules = []
    for line in _RULES.strip().splitlines():
        deed, doer, other = line.split(" : ")
        rules += [Rule(deed, reason, True) for reason in doer.split(", ")]
        rules += [Rule(deed, reason, False) for reason in other.split(", ")]
    return tuple(rules)


RULES = _rules()


@dataclass(frozen=True)
class Schema:
    """A told deed, the question about its pronoun, and the two people; `answer` is one of them."""

    told: str
    question: str
    people: tuple[str, str]
    answer: str

    @property
    def context(self) -> str:
        """The text up to the answer."""
        return join((self.told, prompt(self.question)))


def schema(rng: Random, split: Split) -> Schema:
    """Draw a schema: two in three are decided by the deed, the rest by gender."""
    by_role = rng.random() < 2 / 3
    people = pair(rng, split, same_gender=by_role)
    if by_role:
        rule = rng.choice(RULES)
        deed, reason, link = rule.deed, rule.reason, "because"
        answer = people[0] if rule.means_doer else people[1]
    else:
        deed, reason, link = rng.choice(_NEUTRAL_DEEDS), rng.choice(_NEUTRAL_REASONS), "when"
        answer = rng.choice(people)
    where = f"in the {rng.choice(PLACES)} " if rng.random() < 0.6 else ""
    told = f"{where}{people[0]} {deed} {people[1]} {link} {subject_pronoun(answer)} {reason}"
    return Schema(sentence(told), f"who {reason}", people, answer)


def schemas(rng: Random, split: Split) -> list[str]:
    """A document of schemas, each followed by its answered question."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        drawn = schema(rng, split)
        parts += [drawn.told, ask(drawn.question, drawn.answer)]
    return parts
