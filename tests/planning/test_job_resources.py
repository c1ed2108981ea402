"""What jobs ask of a cluster: by the plan, where there is one of these parameters."""

import re
from pathlib import Path

import pytest

from rankwise.commands.init import PRESETS, with_settings
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import sha256
from rankwise.params.study import Params
from rankwise.planning import job_resources as asked
from rankwise.planning.job_resources import (
    ENGINE,
    MARGIN,
    ON_DEVICE,
    SHORTEST,
    SLOWER,
    UNPLANNED,
    job_resources,
)
from rankwise.validation.params import load_params
from rankwise.workflow.rules import RULES

SUBMITTED = sorted(
    {
        name
        for file in RULES.glob("*.smk")
        for name in re.findall(r'=memory\("(\w+)"\)', file.read_text())
    }
)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The embedded study on a GPU, in the working directory."""
    text = (PRESETS / "embedded.yaml").read_text()
    (tmp_path / "params.yaml").write_text(with_settings(text, ["compute.device=cuda"]))
    monkeypatch.chdir(tmp_path)
    asked._read_plan.cache_clear()
    return load_params(Path("params.yaml"))


def planned(seconds: float | None, digest: str) -> None:
    stage = {"stage": "decompose", "memory_mib": 2001, "longest_seconds": seconds}
    write_json(asked.PLAN, {"params": digest, "stages": [stage]})


def test_every_rule_that_is_submitted_has_needs(params: Params) -> None:
    assert len(SUBMITTED) == 11
    for rule in SUBMITTED:
        found = job_resources(rule, params)
        assert found.memory_mb > ENGINE and found.minutes >= SHORTEST
        assert found.gpus == (asked.STAGES.get(rule, rule) in ON_DEVICE)
    on_cpu = params.model_copy(
        update={"compute": params.compute.model_copy(update={"device": "cpu"})}
    )
    assert {job_resources(rule, on_cpu).gpus for rule in SUBMITTED} == {0}


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(None, UNPLANNED["decompose"][1]), (1.0, 30), (3600.0, 240)]
)
def test_the_plan_is_asked_before_the_table(
    params: Params, seconds: float | None, minutes: int
) -> None:
    planned(seconds, sha256(Path("params.yaml")))
    assert SLOWER == 4
    assert job_resources("decompose", params) == (ENGINE + 3002, minutes, 1)
    assert MARGIN * 2001 <= 3002
    assert job_resources("build", params)[:2] == UNPLANNED["build"]


def test_a_plan_of_other_parameters_is_not_used(params: Params) -> None:
    planned(1.0, "0" * 64)
    assert job_resources("decompose", params)[:2] == UNPLANNED["decompose"]
