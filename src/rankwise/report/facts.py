"""The record of one run as words, in groups: what came of it, what made it, how it was measured."""

from collections import Counter
from typing import Any

from rankwise.records.refine import RefineRecord
from rankwise.records.scores import Scores, TextScore
from rankwise.records.speed import SpeedRecord
from rankwise.report.curves import outcome
from rankwise.report.words import TIMES, between, word
from rankwise.results.run import RunResult


def facts(result: RunResult) -> dict[str, dict[str, str]]:
    """Return group → fact → its words; empty groups are left out."""
    found = {
        "Result": _result(result),
        "Made by": _made_by(result),
        "Measured": _measured(result),
        "Files": {
            file.path.rsplit("/", 1)[-1]: f"{file.bytes:,} bytes, sha256 {file.sha256}"
            for file in result.weights
        },
    }
    return {group: values for group, values in found.items() if values}


def _result(result: RunResult) -> dict[str, str]:
    scores = result.scores
    found = {
        "asked": str(scores.asked),
        "keep reached": f"{scores.keep_reached:.6f}",
        "perplexity": f"{scores.perplexity:.6g}",
        "loss": f"{scores.loss:.6g} nats/token",
        **{
            f"perplexity, {name}": f"{text.perplexity:.6g} over {text.windows:,} windows of {text.window_length}"
            for name, text in scores.further.items()
        },
    }
    texts: dict[str, Scores | TextScore] = {"": scores, **scores.further}
    for name, text in texts.items():
        if text.kl is not None and text.agreement is not None:
            found[f"beside dense{name and f', {name}'}"] = (
                f"KL {text.kl:.4g} nats/token, likeliest token agrees {text.agreement:.2%}"
            )
    if result.predicted is not None:
        found["loss predicted above dense"] = f"{result.predicted:.4g} nats/token"
        if result.against_dense is not None:
            measured = result.against_dense.losses["test"].mean
            found["loss measured above dense"] = f"{measured:.4g} nats/token"
    return found | (_speed(result.speed) if result.speed else {})


def _speed(speed: SpeedRecord) -> dict[str, str]:
    """Return how fast a run is at every batch size, and the dense model beside it."""
    found = {}
    for point, dense in zip(speed.points, speed.dense, strict=True):
        for phase in ("prefill", "decode"):
            ours, theirs = getattr(point, phase), getattr(dense, phase)
            found[f"{phase}, batch {point.batch}"] = (
                f"{ours.median:,.0f} tokens/s, quartiles {between(ours.quartiles)}; "
                f"dense beside it {theirs.median:,.0f}, {between(theirs.quartiles)}"
            )
    return found


def _made_by(result: RunResult) -> dict[str, str]:
    allocation = result.allocation
    if allocation is None:
        return {}
    found = {"decomposer": allocation.decompose}
    own = result.sections.get(f"decompose.{allocation.decompose}", {})
    found |= {f"decomposer: {key}": word(value) for key, value in own.items()}
    if result.decomposition is not None:
        found |= {
            f"decomposer noted: {key}": values
            for key, values in _notes(result.decomposition.notes).items()
        }
    found |= {"allocator": allocation.allocate}
    found |= {f"allocator: {key}": word(value) for key, value in allocation.parameters.items()}
    found |= {f"search: {key}": word(value) for key, value in allocation.search.items()}
    if result.refinement is not None:
        found |= _refinement(result.refinement)
    for role in ("calibration", "search") if result.trials else ("calibration",):
        if given := result.sections.get(f"sample.{role}"):
            found[f"{role} text"] = word(given)
    return found


def _notes(notes: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return what a decomposition noted of its linears: damping, fall-backs; numbers as a range."""
    values: dict[str, list[Any]] = {}
    for linear in notes.values():
        for key, value in linear.items():
            values.setdefault(key, []).append(value)
    found = {}
    for key, seen in values.items():
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in seen):
            low, high = min(seen), max(seen)
            said = word(low) if low == high else f"{word(float(low))} to {word(float(high))}"
        else:
            said = ", ".join(
                f"{value} {TIMES} {count}" for value, count in Counter(map(word, seen)).items()
            )
        found[key] = f"{said} ({len(seen)} linears)"
    return found


def _refinement(record: RefineRecord) -> dict[str, str]:
    """Return what a refinement did."""
    return {
        "refiner": f"{record.method}, from {record.of}",
        "refiner: outcome": outcome(record),
        **{f"refiner: {key}": word(value) for key, value in record.parameters.items()},
    }


def _measured(result: RunResult) -> dict[str, str]:
    scores = result.scores
    text = result.items.texts["test"]
    return {
        "test text": f"{scores.windows:,} windows of {scores.window_length} tokens, sha256 {text.sha256}",
        **({"timed": _how_timed(result.speed)} if result.speed else {}),
        **{
            f"evaluate: {key}": word(value)
            for key, value in scores.parameters_section.items()
            if value not in (None, False, [])  # what was not asked for
        },
        **{f"version: {name}": version for name, version in scores.versions.items()},
    }


def _how_timed(speed: SpeedRecord) -> str:
    return (
        f"{speed.repeats} repeats, prompts of {speed.length} tokens, {speed.new_tokens} decoded, "
        f"{speed.device}, {speed.threads} thread{'s' if speed.threads > 1 else ''}"
    )
