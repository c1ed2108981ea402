"""The lock and the lower bounds let no known hole in, and every package says on what terms it may be used."""

import re
import tomllib
from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tools.packaging import dependencies


def test_no_known_hole_is_let_in() -> None:
    assert dependencies.holes() == []


def test_a_hole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "locked", lambda: {"torch": "2.9.1"})
    said, *_ = dependencies.holes()
    assert said.startswith("requirements.lock: torch 2.9.1 is older than 2.10: ")


def test_every_package_states_its_licence() -> None:
    without = [name for name in dependencies.locked() if dependencies.licence(name) == "not stated"]
    assert without == ["conda-inject"]  # its package says nothing


def test_every_file_is_known_by_its_hash_but_pytorch_s() -> None:
    hashed, torch = (dependencies.ROOT / name for name in dependencies.LOCKS)
    pins = re.split(r"^(?=\w)", hashed.read_text(), flags=re.MULTILINE)[1:]
    assert [pin for pin in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}\n", pin)] == []
    assert len(pins) > 200
    pins = [line for line in torch.read_text().splitlines() if not line.startswith("#")]
    assert [line.partition("==")[0] for line in pins] == ["torch"]


def test_what_is_needed_is_locked() -> None:
    assert set(dependencies.lowest()) <= set(dependencies.locked())


def test_the_lock_installs_on_the_least_python_that_is_promised() -> None:
    """Its first release: Debian 12 has 3.11.2, and one package that asks for 3.11.5 ends `make run` there."""
    project = tomllib.loads((dependencies.ROOT / "pyproject.toml").read_text())["project"]
    [least] = [Version(of.version) for of in SpecifierSet(project["requires-python"])]
    asked = {name: metadata.metadata(name).get("Requires-Python") for name in dependencies.locked()}
    without = {name: of for name, of in asked.items() if of and least not in SpecifierSet(of)}
    assert without == {}
