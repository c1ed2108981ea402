"""What a job of each rule asks of a cluster: memory, time, GPUs. The one place that knows.

By the study's plan where there is one (`rankwise run --profile` makes it, else `rankwise plan --out`), by
a table otherwise. Only light imports here: every call of Snakemake reads this module.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rankwise.files.checksummed import sha256
from rankwise.params.stages import Params

PLAN = Path("data/work/plan.json")
"""Where a study keeps its plan for the rules; undeclared, and read only where it is of this params.yaml."""
STAGES = {"covariance_shard": "covariance", "suggest": "allocate", "trial": "allocate"}
"""Rule → the stage that it is a part of; other rules are named as their stage."""
ON_DEVICE = frozenset(
    ("covariance", "fisher", "decompose", "allocate", "refine", "evaluate", "speed")
)
"""Stages that compute on ``compute.device``."""
MARGIN = 1.5
"""Memory that is asked for, of the planned one [-]."""
ENGINE = 1000
"""Memory of the Snakemake that runs a job on its node [MiB]."""
SLOWER = 4
"""Time that is asked for, of the planned one: nodes may be slower than the machine that was probed [-]."""
SHORTEST = 30
"""Time that is asked for at least [min]."""


class JobResources(NamedTuple):
    """What one job is given; a job that takes more is killed by the scheduler."""

    memory_mb: int
    """Main memory [MiB]."""
    minutes: int
    """Wall time [min]."""
    gpus: int
    """Devices, used by this job alone [-]."""


UNPLANNED = {
    "covariance": (48_000, 240),
    "fisher": (64_000, 480),
    "decompose": (32_000, 240),
    "allocate": (48_000, 1_440),
    "build": (64_000, 60),
    "refine": (64_000, 1_440),
    "evaluate": (48_000, 720),
    "speed": (48_000, 120),
}
"""Stage → memory [MiB] and time [min], with room for a model of 7 billion parameters in 16 bits."""


def job_resources(rule: str, params: Params, plan: Path = PLAN) -> JobResources:
    """Return what a job of a rule asks for in this study; no GPU where the study computes on the CPU.

    Raises KeyError for a rule that is not submitted.
    """
    stage = STAGES.get(rule, rule)
    memory, minutes = UNPLANNED[stage]
    planned = _planned(plan).get(stage)
    if planned is not None:
        memory = ENGINE + math.ceil(MARGIN * planned["memory_mib"])
        if planned["longest_seconds"] is not None:
            minutes = max(SHORTEST, math.ceil(SLOWER * planned["longest_seconds"] / 60))
    on_gpu = params.compute.device != "cpu" and stage in ON_DEVICE
    return JobResources(memory, minutes, int(on_gpu))


@cache
def _planned(plan: Path) -> dict[str, dict[str, Any]]:
    """Return stage → its plan; nothing where there is no plan of params.yaml as it is now."""
    if not plan.is_file():
        return {}
    found = json.loads(plan.read_text(encoding="utf-8"))
    if found["params"] != sha256(Path("params.yaml")):
        return {}
    return {stage["stage"]: stage for stage in found["stages"]}
