"""The command 'rankwise plan'."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.planning.machine import Room
from tests.planning.studies import ROOMY, params_of, write_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaMA-2-7B's config.json, and nothing else."""
    folder = tmp_path_factory.mktemp("llama")
    write_llama(folder)
    return folder


def test_command_prints_json_and_ends_with_three(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params_of(tmp_path, "bolaco", "prepare.model={source: meta, layers: 32}")
    monkeypatch.chdir(tmp_path)
    command = ["plan", "--no-time", "--json", "--config", str(llama)]
    monkeypatch.setattr(Room, "here", lambda _: ROOMY)
    fits = CliRunner().invoke(app, command)
    assert fits.exit_code == 0, fits.output
    found = json.loads(fits.stdout)
    assert found["parameters"] == 6_738_415_616
    assert found["missing"] == []
    monkeypatch.setattr(Room, "here", lambda _: replace(ROOMY, memory=2**30))
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 3
    assert "are missing" in refused.stderr
    assert (
        CliRunner().invoke(app, ["plan", "--no-time"]).exit_code != 0
    )  # there is no folder 'meta'
