"""What a study needs and takes, stage by stage, beside what this machine has."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rankwise.inputs.sources import ITEM_FILES, items_folder, tasks_folder, text_file
from rankwise.params.memory import advise_less_memory
from rankwise.params.stages import Params
from rankwise.planning.job_resources import ON_DEVICE
from rankwise.planning.machine import Room, Speed
from rankwise.planning.need import Requirement
from rankwise.planning.sizes import Sizes
from rankwise.planning.stages import requirements
from rankwise.planning.study import StudySizes, count

MIB = 2**20
PER_TOKEN = 4
"""Characters of a text that make a token, about."""
REQUESTS = 3
"""Answers that a model is asked to weigh an item, about."""
PER_REQUEST = 3e-4
"""What lm-eval does around a request, about [s]."""
COPIES = 2
"""Of every result but MLflow's store: the file, and the copy in DVC's cache that records it."""
LIBRARIES = {
    "covariance": (0, 1.0),
    "fisher": (0, 1.0),
    "evaluate": (150, 0.5),
    "report": (60, 0.5),
    "track": (80, 2.0),
}
"""Stage → what its own libraries, their data and a first pass take beside what all stages load, about [MiB], [s]."""


class StagePlan(BaseModel):
    """What one stage takes."""

    model_config = ConfigDict(frozen=True)

    stage: str
    jobs: int
    memory_mib: int
    """Main memory of its largest job [MiB]."""
    gpu_mib: int
    """Memory of the device, 0 on the CPU [MiB]."""
    disk_mib: int
    """What its jobs leave [MiB]."""
    scratch_mib: int
    """What the largest of them has on disk beside that while it runs [MiB]."""
    moved_mib: int
    """What all its jobs read and write [MiB]."""
    flops: float
    """Of forward and backward passes, sums and checks; those of decomposers are measured as time [-]."""
    seconds: float | None
    """Of all its jobs, one after the other; None without a probe [s]."""
    longest_seconds: float | None
    """Of its longest job [s]."""


class Plan(BaseModel):
    """What a study takes, and whether it fits."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    """Of the dense model [-]."""
    factored: int
    """Of them in linears that may be factored [-]."""
    stages: list[StagePlan]
    memory_mib: int
    """Of the largest job [MiB]."""
    gpu_mib: int
    disk_mib: int
    """What the study leaves, DVC's copy of it included [MiB]."""
    seconds: float | None
    """One job after the other [s]."""
    room: dict[str, int]
    """What this machine has: memory_mib, gpu_mib, disk_mib."""
    missing: list[str]
    """A sentence for each thing that does not suffice; empty: the study fits."""


def plan(params: Params, sizes: Sizes, room: Room, base: int, speed: Speed | None = None) -> Plan:
    """Put needs and machine together; ``base`` is what the libraries of a stage take [bytes]."""
    study = _study(params, sizes)
    on_gpu = params.compute.device != "cpu"
    stages = [_stage(need, study, speed, base, on_gpu=on_gpu) for need in requirements(study)]
    worst = max(stages, key=lambda stage: stage.memory_mib)
    tightest = max(stages, key=lambda stage: stage.gpu_mib)
    disk = sum(stage.disk_mib * (1 if stage.stage == "track" else COPIES) for stage in stages)
    there = {"memory": room.memory // MIB, "GPU memory": room.gpu // MIB, "disk": room.disk // MIB}
    asked = [
        ("memory", worst.memory_mib, f"stage {worst.stage}", advise_less_memory([worst.stage])),
        (
            "GPU memory",
            tightest.gpu_mib,
            f"stage {tightest.stage}",
            advise_less_memory([tightest.stage]),
        ),
        ("disk", disk + max(stage.scratch_mib for stage in stages), "the study", "make room"),
    ]
    missing = [
        f"{who} needs about {need:,} MiB of {what}, {there[what]:,} MiB are free: "
        f"{need - there[what]:,} MiB are missing; {advice}"
        for what, need, who, advice in asked
        if need > there[what]
    ]
    return Plan(
        parameters=sizes.parameters,
        factored=sizes.linear_numbers,
        stages=stages,
        memory_mib=worst.memory_mib,
        gpu_mib=tightest.gpu_mib,
        disk_mib=disk,
        seconds=None if speed is None else sum(stage.seconds or 0 for stage in stages),
        room={f"{name.replace(' ', '_').lower()}_mib": value for name, value in there.items()},
        missing=missing,
    )


def _stage(
    need: Requirement, study: StudySizes, speed: Speed | None, base: int, *, on_gpu: bool
) -> StagePlan:
    extra, _ = LIBRARIES.get(need.stage, (0, 0))
    on_gpu = on_gpu and need.stage in ON_DEVICE
    loaded = min(need.tensors, study.sizes.bytes)  # in main memory before it is on the device
    host = base + extra * MIB + need.beside + (loaded if on_gpu else need.tensors)
    return StagePlan(
        stage=need.stage,
        jobs=need.jobs,
        memory_mib=round(host / MIB),
        gpu_mib=round(need.tensors / MIB) if on_gpu else 0,
        disk_mib=round(need.disk / MIB),
        scratch_mib=round(need.scratch / MIB),
        moved_mib=round(need.moved / MIB),
        flops=need.flops(study.sizes),
        seconds=None if speed is None else round(_seconds(need, study, speed), 3),
        longest_seconds=None if speed is None else round(_longest(need, study, speed), 3),
    )


def _seconds(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of all jobs of a stage, one after the other [s]."""
    factoring = sum(n * speed.factoring[key] for key, n in need.factored.items())
    return _shared(need, study, speed) + factoring


def _shared(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of all jobs of a stage but for what decomposers take [s]."""
    passes = need.passed * study.sizes.layers * speed.layer + need.heads * speed.head
    asking = PER_REQUEST * study.items if need.stage == "evaluate" else 0
    around = need.jobs * (asking + LIBRARIES.get(need.stage, (0, 0))[1])
    written = need.disk + need.scratch
    files = written * speed.write + max(0, need.moved - written) * speed.read
    return passes + need.products * speed.product + around + files


def _longest(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of the longest job: of a group of the slowest decomposer, of one search [s].

    Other jobs of a stage are taken to be alike; searches that differ in their trials too.
    """
    sections: dict[str, float] = {}
    for (section, shape), number in need.factored.items():
        taken = number * speed.factoring[section, shape] / len(study.groups)
        sections[section] = sections.get(section, 0.0) + taken
    return _shared(need, study, speed) / need.share + max(sections.values(), default=0.0)


def _study(params: Params, sizes: Sizes) -> StudySizes:
    """Count windows and items by the sizes of the files that are here; what is not here counts as none."""
    tests = [text for role, text in params.sample.by_role().items() if role.startswith("test")]
    tokens = sum(count(text) or _characters(params, text.corpus) // PER_TOKEN for text in tests)
    items, characters = _items(params)
    return StudySizes(
        params,
        sizes,
        items=REQUESTS * items,
        item_tokens=REQUESTS * characters // PER_TOKEN,
        test_tokens=tokens,
    )


def _characters(params: Params, corpus: str) -> int:
    given = params.prepare.corpora[corpus]
    if given.revision is not None:
        return given.characters or 0
    size = text_file(given.source, None, given.file).stat().st_size
    return min(size, given.characters or size)


def _items(params: Params) -> tuple[int, int]:
    """Return how many items the zero-shot tasks have, and the characters of what they say."""
    tasks, limit = params.prepare.tasks, params.evaluate.limit
    if tasks.source is None:
        return 0, 0
    folder: Path = items_folder(tasks.source, tasks.data) or tasks_folder(tasks.source)
    found: dict[str, Any] = {}
    for path in {path for pattern in ITEM_FILES for path in folder.rglob(pattern)}:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n")[:limit] if line]
        found[path.name] = (len(lines), sum(map(_said, lines)))
    numbers = list(found.values())
    return sum(n for n, _ in numbers), sum(size for _, size in numbers)


def _said(line: str) -> int:
    """Return the characters of all texts of an item, a line of JSON; its keys are no text."""
    try:
        parts, characters = [json.loads(line)], 0
    except (ValueError, RecursionError):  # stage evaluate refuses it, and names the line
        return len(line)
    while parts:
        match parts.pop():
            case str() as text:
                characters += len(text)
            case list() as inner:
                parts += inner
            case dict() as inner:
                parts += inner.values()
    return characters
