"""What a job of each rule asks of a cluster: memory, time, GPUs. The one place that knows."""

from typing import NamedTuple

from rankwise.params import Params


class Needs(NamedTuple):
    """What one job is given; a job that takes more is killed by the scheduler."""

    memory_mb: int
    """Main memory [MiB]."""
    minutes: int
    """Wall time [min]."""
    gpus: int
    """Devices, used by this job alone [-]."""


TABLE = {
    "prepare_model": Needs(4_000, 60, 0),
    "prepare_corpora": Needs(4_000, 60, 0),
    "prepare_tasks": Needs(4_000, 60, 0),
    "sample": Needs(8_000, 60, 0),
    "covariance": Needs(48_000, 240, 1),
    "curvature": Needs(64_000, 480, 1),
    "decompose": Needs(32_000, 240, 1),
    "allocate": Needs(48_000, 1_440, 1),
    "build": Needs(64_000, 60, 0),
    "refine": Needs(64_000, 1_440, 1),
    "evaluate": Needs(48_000, 720, 1),
    "speed": Needs(48_000, 120, 1),
    "report": Needs(8_000, 60, 0),
    "track": Needs(4_000, 60, 0),
}
"""Rule → needs that leave room for a model of 7 billion parameters in 16 bits on one GPU."""


def needs(rule: str, params: Params) -> Needs:
    """Return what a job of a rule asks for in this study; no GPU where the study computes on the CPU.

    Raises KeyError for a rule that the workflow does not have.
    """
    asked = TABLE[rule]
    return asked if params.compute.device.startswith("cuda") else asked._replace(gpus=0)
