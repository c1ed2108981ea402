"""The generated language: reproducible, grammatical, and consistent with what it stated."""

import hashlib
import re
from random import Random

import pytest

from rankwise.embedded import grammar, passages, stories
from rankwise.embedded.facts import FACTS, GOALS, knowledge
from rankwise.embedded.files import TEXT
from rankwise.embedded.people import Split, is_reserved, join, subject_pronoun
from rankwise.embedded.pronouns import RULES, schema
from rankwise.embedded.train import TEXT_CHARACTERS
from rankwise.embedded.world import PEOPLE, TOOLS


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_seed_decides_the_text() -> None:
    assert grammar.text(1, 20_000) == grammar.text(1, 20_000)
    assert grammar.text(1, 20_000) != grammar.text(2, 20_000)


@pytest.mark.parametrize("name", ["calibration", "search", "test"])
def test_shipped_text_regenerates(name: str) -> None:
    again = grammar.text(grammar.SEEDS[name], TEXT_CHARACTERS[name])
    assert sha((TEXT / f"{name}.txt").read_text(encoding="utf-8")) == sha(again)


def test_texts_share_no_document_beyond_the_shortest_forms() -> None:
    texts = {
        name: (TEXT / f"{name}.txt").read_text(encoding="utf-8").strip().split(grammar.SEPARATOR)
        for name in TEXT_CHARACTERS
    }
    shared = set(texts["test"]) & (set(texts["calibration"]) | set(texts["search"]))
    assert len(shared) <= 0.005 * len(texts["test"])


def test_articles_fit_the_next_word() -> None:
    text = grammar.text(3, 300_000)
    assert not re.search(r"\ba [aeiou]", text)
    assert not re.search(r"\ban [^aeiou]", text)


def test_story_pronouns_agree_with_the_last_subject() -> None:
    rng = Random(4)
    found = 0
    for _ in range(300):
        subject = ""
        for line in stories.story(rng, Split.TEXT):
            words = line.split()
            acting = next((w for w in words if w in (*PEOPLE, "he", "she")), None)
            if acting in ("he", "she"):
                assert acting == subject_pronoun(subject), line
                found += 1
            elif acting:
                subject = acting
    assert found > 200


def test_schema_pronouns_agree_and_rules_use_each_reason_both_ways() -> None:
    rng = Random(5)
    for _ in range(300):
        drawn = schema(rng, Split.TEXT)
        pronoun = next(w for w in drawn.told.split() if w in ("he", "she"))
        assert pronoun == subject_pronoun(drawn.answer)
        assert drawn.answer in drawn.people
    doer = {rule.reason for rule in RULES if rule.means_doer}
    other = {rule.reason for rule in RULES if not rule.means_doer}
    assert len(doer & other) >= 8


def test_what_is_asked_was_stated() -> None:
    rng = Random(6)
    for _ in range(300):
        given = rng.choice(passages.KINDS)(rng, Split.TEXT)
        told = join(given.sentences)
        for fact in given.told:
            assert fact.subject.removeprefix("the ") in told
            assert fact.value in told


def test_yes_no_questions_are_answered_by_what_is_told() -> None:
    rng = Random(9)
    for _ in range(300):
        given = passages.states(rng, Split.TEXT)
        assert all(f"{f.subject} is {f.value} ." in given.sentences for f in given.told)
        question, truth = passages.polar_question(rng, given)
        true = {fact.polar(fact.value) for fact in given.told}
        false = {fact.polar(v) for fact in given.told for v in fact.pool} - true
        assert question in (true if truth else false)


def test_text_keeps_reserved_pairs_and_wordings_for_the_tasks() -> None:
    rng = Random(7)
    for _ in range(300):
        assert not is_reserved(*schema(rng, Split.TEXT).people)
        assert is_reserved(*schema(rng, Split.TASK).people)
    kept = {fact.question(fact.kept) for fact in FACTS}
    told = " ".join(join(knowledge(rng, Split.TEXT)) for _ in range(2_000))
    assert not [question for question in kept if f"question : {question} ?" in told]


def test_every_goal_has_one_tool() -> None:
    assert len({tool.verb for tool in TOOLS}) == len(TOOLS)
    assert len({(goal.tool.verb, goal.target) for goal in GOALS}) == len(GOALS)
