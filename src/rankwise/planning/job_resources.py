"""Resources that a job of each rule requests from a cluster: memory, time, GPUs.

They come from the study's plan where one exists (`rankwise run --profile` makes it, or `rankwise plan
--out`), otherwise from a table. Only light imports here: every call of Snakemake reads this module.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rankwise.files.checksummed import sha256
from rankwise.params.study import Params

PLAN = Path("data/work/plan.json")
"""File of a study's plan; no rule declares it, and it is used only if it was made from this params.yaml."""
STAGES = {"covariance_shard": "covariance", "suggest": "allocate", "trial": "allocate"}
"""Rule → its stage; all other rules have the name of their stage."""
ON_DEVICE = frozenset(
    ("covariance", "fisher", "decompose", "allocate", "refine", "evaluate", "speed")
)
"""Stages that compute on ``compute.device``."""
MARGIN = 1.5
"""Requested memory / planned memory [-]."""
ENGINE = 1000
"""Memory of the Snakemake that runs a job on its node [MiB]."""
SLOWER = 4
"""Requested time / planned time: nodes may be slower than the probed machine [-]."""
SHORTEST = 30
"""Minimum requested time [min]."""


class JobResources(NamedTuple):
    """Resources of one job; the scheduler kills a job that exceeds them."""

    memory_mb: int
    """Main memory [MiB]."""
    minutes: int
    """Wall time [min]."""
    gpus: int
    """Devices for the exclusive use of this job [-]."""


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
    """Return the resources of a rule's job in this study; no GPU where the study computes on the CPU.

    Raises KeyError for a rule that is never submitted to a cluster.
    """
    stage = STAGES.get(rule, rule)
    memory, minutes = UNPLANNED[stage]
    planned = _read_plan(plan).get(stage)
    if planned is not None:
        memory = ENGINE + math.ceil(MARGIN * planned["memory_mib"])
        if planned["longest_seconds"] is not None:
            minutes = max(SHORTEST, math.ceil(SLOWER * planned["longest_seconds"] / 60))
    on_gpu = params.compute.device != "cpu" and stage in ON_DEVICE
    return JobResources(memory, minutes, int(on_gpu))


@cache
def _read_plan(plan: Path) -> dict[str, dict[str, Any]]:
    """Return stage → its plan; empty without a plan made from the current params.yaml."""
    if not plan.is_file():
        return {}
    plan_json = json.loads(plan.read_text(encoding="utf-8"))
    if plan_json["params"] != sha256(Path("params.yaml")):
        return {}
    return {stage["stage"]: stage for stage in plan_json["stages"]}
