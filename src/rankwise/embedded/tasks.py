"""Five zero-shot multiple-choice tasks in lm-eval's own format, a YAML and a JSONL file each.

They mirror the tasks of the papers: yes/no over a passage (BoolQ), what a pronoun means
(WinoGrande), how a story goes on (HellaSwag), world knowledge (ARC) and the way to a goal (PIQA).
Items come from seeds, pairs of people and wordings that no text ever shows (`people`, `facts`).
Positions of right answers are dealt out evenly and then shuffled.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rankwise.embedded.facts import FACTS, GOALS, Fact, means
from rankwise.embedded.files import TASK_NAMES
from rankwise.embedded.grammar import SEEDS
from rankwise.embedded.passages import polar_question, states
from rankwise.embedded.people import Split, join, prompt
from rankwise.embedded.plots import plot
from rankwise.embedded.pronouns import schema
from rankwise.embedded.world import PEOPLE, TOOLS

ITEMS = 250


@dataclass(frozen=True)
class Item:
    """A context, its choices and the position of the right one."""

    context: str
    choices: tuple[str, ...]
    gold: int

    def row(self) -> dict[str, object]:
        """The item as a row of the task's JSONL file."""
        return {"context": self.context, "choices": list(self.choices), "gold": self.gold}


def _place(rng: Random, right: str, wrong: list[str], gold: int) -> tuple[str, ...]:
    """The choices with the right one at position `gold`."""
    rng.shuffle(wrong)
    return (*wrong[:gold], right, *wrong[gold:])


def boolq(rng: Random, gold: int) -> Item:
    """A passage of states and a yes/no question; position 0 is "yes"."""
    while True:
        given = states(rng, Split.TASK)
        question, truth = polar_question(rng, given)
        if truth == (gold == 0):
            break
    return Item(join([*given.sentences, prompt(question)]), ("yes", "no"), gold)


def winogrande(rng: Random, gold: int) -> Item:
    """Which of two people the pronoun means."""
    drawn = schema(rng, Split.TASK)
    wrong = [name for name in drawn.people if name != drawn.answer]
    return Item(drawn.context, _place(rng, drawn.answer, wrong, gold), gold)


def hellaswag(rng: Random, gold: int) -> Item:
    """The ending of a story out of four."""
    drawn = plot(rng, Split.TASK)
    right, *wrong = drawn.endings
    return Item(join(drawn.sentences), _place(rng, right, wrong, gold), gold)


def _other_values(rng: Random, fact: Fact, count: int) -> list[str]:
    """Wrong values, drawn as often as they are right elsewhere, so that none is a giveaway."""
    pool = [f.value for f in FACTS if f.relation is fact.relation and f.value != fact.value]
    found: list[str] = []
    while len(found) < count:
        value = rng.choice(pool)
        if value not in found:
            found.append(value)
    return found


def arc(rng: Random, gold: int) -> Item:
    """A question of world knowledge, in the wording kept for the task."""
    fact = rng.choice(FACTS)
    wrong = [fact.answer(value) for value in _other_values(rng, fact, 3)]
    return Item(prompt(fact.question(fact.kept)), _place(rng, fact.answer(), wrong, gold), gold)


def piqa(rng: Random, gold: int) -> Item:
    """The better of two means to a goal, in the wording kept for the task."""
    goal, person = rng.choice(GOALS), rng.choice(PEOPLE)
    tool = rng.choice([tool for tool in TOOLS if tool != goal.tool])
    right = means(goal.kept, person, goal.tool)
    wrong = means(goal.kept, person, tool)
    context = prompt(goal.question(goal.kept, person))
    return Item(context, _place(rng, right, [wrong], gold), gold)


TASKS: dict[str, tuple[Callable[[Random, int], Item], int]] = dict(
    zip(TASK_NAMES, ((boolq, 2), (winogrande, 2), (hellaswag, 4), (arc, 4), (piqa, 2)), strict=True)
)
"""For each task how an item is drawn, and how many choices it has."""


def items(name: str) -> list[Item]:
    """The task's items: no two with the same context and choices, answers spread evenly."""
    draw, choices = TASKS[name]
    rng = Random(f"{SEEDS['tasks']} {name}")  # noqa: S311 - tasks, not secrets
    golds = [number % choices for number in range(ITEMS)]
    rng.shuffle(golds)
    drawn: dict[tuple[str, frozenset[str]], Item] = {}
    for gold in golds:
        item = draw(rng, gold)
        while (item.context, frozenset(item.choices)) in drawn:
            item = draw(rng, gold)
        drawn[item.context, frozenset(item.choices)] = item
    return list(drawn.values())


def task_yaml(name: str) -> str:
    """The task's description for lm-eval; the data file lies beside it."""
    return f"""\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {name}.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def files() -> Iterator[tuple[str, str]]:
    """Name and content of every task file."""
    for name in TASK_NAMES:
        yield f"{name}.yaml", task_yaml(name)
        yield f"{name}.jsonl", "".join(json.dumps(i.row()) + "\n" for i in items(name))


def write(folder: Path) -> None:
    """Write all task files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")
