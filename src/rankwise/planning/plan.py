"""Plan of a study: memory, disk and time of every stage, compared with this machine."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rankwise.inputs.sources import ITEM_FILES, items_folder, tasks_folder, text_file
from rankwise.params.memory import advise_less_memory
from rankwise.params.study import Params
from rankwise.planning.job_resources import ON_DEVICE
from rankwise.planning.machine import Room, Speed
from rankwise.planning.need import Requirement
from rankwise.planning.sizes import Sizes
from rankwise.planning.stages import requirements
from rankwise.planning.study import StudySizes, count

MIB = 2**20
PER_TOKEN = 4
"""Average characters per token, roughly."""
REQUESTS = 3
"""Average number of choices per item, roughly."""
PER_REQUEST = 3e-4
"""Time that lm-eval adds per request, roughly [s]."""
COPIES = 2
"""Copies of every result but MLflow's store: the file, and its copy in DVC's cache."""
LIBRARIES = {
    "covariance": (0, 1.0),
    "fisher": (0, 1.0),
    "evaluate": (150, 0.5),
    "report": (60, 0.5),
    "track": (80, 2.0),
}
"""Stage → memory and time of its own libraries, their data and a first pass, roughly [MiB], [s]."""


class StagePlan(BaseModel):
    """Estimated resources of one stage."""

    model_config = ConfigDict(frozen=True)

    stage: str
    jobs: int
    memory_mib: int
    """Main memory of its largest job [MiB]."""
    gpu_mib: int
    """Memory of the device, 0 on the CPU [MiB]."""
    disk_mib: int
    """Disk space of the results of its jobs [MiB]."""
    scratch_mib: int
    """Largest temporary disk space of one job while it runs [MiB]."""
    moved_mib: int
    """Bytes that all its jobs read and write [MiB]."""
    flops: float
    """Floating-point operations of passes, sums and checks; decomposers are measured as time instead [-]."""
    seconds: float | None
    """Time of all its jobs, one after the other; None without a probe [s]."""
    longest_seconds: float | None
    """Time of its longest job [s]."""


class Plan(BaseModel):
    """Estimated resources of a study, and whether they suffice."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    """Parameters of the dense model [-]."""
    factored: int
    """Parameters in linears that may be factored [-]."""
    stages: list[StagePlan]
    memory_mib: int
    """Main memory of the largest job [MiB]."""
    gpu_mib: int
    disk_mib: int
    """Disk space of the study's results, DVC's copy included [MiB]."""
    seconds: float | None
    """Time of all jobs, one after the other [s]."""
    room: dict[str, int]
    """Free resources of this machine: memory_mib, gpu_mib, disk_mib."""
    missing: list[str]
    """One sentence per resource that does not suffice; empty: the study fits."""


def plan(params: Params, sizes: Sizes, room: Room, base: int, speed: Speed | None = None) -> Plan:
    """Compare requirements and machine; ``base`` is the memory of a stage's libraries [bytes]."""
    study = _measure_study(params, sizes)
    on_gpu = params.compute.device != "cpu"
    stages = [_plan_stage(need, study, speed, base, on_gpu=on_gpu) for need in requirements(study)]
    worst = max(stages, key=lambda stage: stage.memory_mib)
    tightest = max(stages, key=lambda stage: stage.gpu_mib)
    disk = sum(stage.disk_mib * (1 if stage.stage == "track" else COPIES) for stage in stages)
    free = {"memory": room.memory // MIB, "GPU memory": room.gpu // MIB, "disk": room.disk // MIB}
    demands = [
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
        f"{who} needs about {need:,} MiB of {what}, {free[what]:,} MiB are free: "
        f"{need - free[what]:,} MiB are missing; {advice}"
        for what, need, who, advice in demands
        if need > free[what]
    ]
    return Plan(
        parameters=sizes.parameters,
        factored=sizes.linear_numbers,
        stages=stages,
        memory_mib=worst.memory_mib,
        gpu_mib=tightest.gpu_mib,
        disk_mib=disk,
        seconds=None if speed is None else sum(stage.seconds or 0 for stage in stages),
        room={f"{name.replace(' ', '_').lower()}_mib": value for name, value in free.items()},
        missing=missing,
    )


def _plan_stage(
    need: Requirement, study: StudySizes, speed: Speed | None, base: int, *, on_gpu: bool
) -> StagePlan:
    extra, _ = LIBRARIES.get(need.stage, (0, 0))
    on_gpu = on_gpu and need.stage in ON_DEVICE
    loaded = min(need.tensors, study.sizes.bytes)  # into main memory, then moved to the device
    host = base + extra * MIB + need.mapped + (loaded if on_gpu else need.tensors)
    return StagePlan(
        stage=need.stage,
        jobs=need.jobs,
        memory_mib=round(host / MIB),
        gpu_mib=round(need.tensors / MIB) if on_gpu else 0,
        disk_mib=round(need.disk / MIB),
        scratch_mib=round(need.scratch / MIB),
        moved_mib=round(need.moved / MIB),
        flops=need.flops(study.sizes),
        seconds=None if speed is None else round(_total_time(need, study, speed), 3),
        longest_seconds=None if speed is None else round(_longest_time(need, study, speed), 3),
    )


def _total_time(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of all jobs of a stage, one after the other [s]."""
    factoring = sum(n * speed.factoring[key] for key, n in need.factored.items())
    return _time_without_factoring(need, study, speed) + factoring


def _time_without_factoring(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of all jobs of a stage, without the decomposers' time [s]."""
    passes = need.passed * study.sizes.layers * speed.layer + need.heads * speed.head
    requests = PER_REQUEST * study.items if need.stage == "evaluate" else 0
    around = need.jobs * (requests + LIBRARIES.get(need.stage, (0, 0))[1])
    written = need.disk + need.scratch
    files = written * speed.write + max(0, need.moved - written) * speed.read
    return passes + need.products * speed.product + around + files


def _longest_time(need: Requirement, study: StudySizes, speed: Speed) -> float:
    """Return the time of the longest job: one layer group of the slowest decomposer, or one search [s].

    All other jobs of a stage count as equally long, even searches with different numbers of trials.
    """
    sections: dict[str, float] = {}
    for (section, shape), number in need.factored.items():
        duration = number * speed.factoring[section, shape] / len(study.groups)
        sections[section] = sections.get(section, 0.0) + duration
    return _time_without_factoring(need, study, speed) / need.share + max(
        sections.values(), default=0.0
    )


def _measure_study(params: Params, sizes: Sizes) -> StudySizes:
    """Estimate test tokens and items from the sizes of local files; other files count as empty."""
    tests = [text for role, text in params.sample.by_role().items() if role.startswith("test")]
    tokens = sum(
        count(text) or _corpus_characters(params, text.corpus) // PER_TOKEN for text in tests
    )
    items, characters = _count_items(params)
    return StudySizes(
        params,
        sizes,
        items=REQUESTS * items,
        item_tokens=REQUESTS * characters // PER_TOKEN,
        test_tokens=tokens,
    )


def _corpus_characters(params: Params, corpus: str) -> int:
    source = params.prepare.corpora[corpus]
    if source.revision is not None:
        return source.characters or 0
    size = text_file(source.source, None, source.file).stat().st_size
    return min(size, source.characters or size)


def _count_items(params: Params) -> tuple[int, int]:
    """Return the number of items of the zero-shot tasks, and the characters of their texts."""
    tasks, limit = params.prepare.tasks, params.evaluate.limit
    if tasks.source is None:
        return 0, 0
    folder: Path = items_folder(tasks.source, tasks.data) or tasks_folder(tasks.source)
    sizes_by_file: dict[str, Any] = {}
    for path in {path for pattern in ITEM_FILES for path in folder.rglob(pattern)}:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n")[:limit] if line]
        sizes_by_file[path.name] = (len(lines), sum(map(_text_characters, lines)))
    numbers = list(sizes_by_file.values())
    return sum(n for n, _ in numbers), sum(size for _, size in numbers)


def _text_characters(line: str) -> int:
    """Return the characters of all texts of an item, a line of JSON; its keys do not count."""
    try:
        parts, characters = [json.loads(line)], 0
    except (ValueError, RecursionError):  # the stage evaluate refuses the line
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
