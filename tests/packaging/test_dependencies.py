"""The lock and the lower bounds let no known hole in, and every package says on what terms it may be used."""

import pytest

from tests.packaging import dependencies


def test_no_known_hole_is_let_in() -> None:
    assert dependencies.holes() == []


def test_a_hole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "locked", lambda: {"torch": "2.9.1"})
    said, *_ = dependencies.holes()
    assert said.startswith("requirements.lock: torch 2.9.1 is older than 2.10: ")


def test_every_package_states_its_licence() -> None:
    without = [name for name in dependencies.locked() if dependencies.licence(name) == "not stated"]
    assert without == ["conda-inject"]  # its package says nothing


def test_what_is_needed_is_locked() -> None:
    assert set(dependencies.lowest()) <= set(dependencies.locked())
