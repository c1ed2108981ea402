"""Compatibility checks of a run's methods, done when params.yaml is read."""

from typing import Any

from rankwise.allocate import allocators
from rankwise.decompose import decomposers
from rankwise.params.runs import CompressedRun

Methods = dict[str, dict[str, Any]]
"""Kind (decompose, allocate, refine) → name of a section → its method."""


def check_run(name: str, run: CompressedRun, methods: Methods) -> list[str]:
    """Return one sentence for every requirement that the run's decomposer or allocator does not meet."""
    return [
        *_measure_checks(name, run, methods),
        *_multiple_checks(name, run, methods),
        *_seed_checks(name, run, methods["allocate"]),
    ]


def _measure_checks(name: str, run: CompressedRun, methods: Methods) -> list[str]:
    """Return the problems of allocators that need more of the spectrum than the decomposer provides."""
    decomposer = methods["decompose"].get(run.decompose)
    if decomposer is None:
        return []
    problems = []
    for key in ("allocate", "steps_allocate"):
        section = getattr(run, key)
        allocator = methods["allocate"].get(section)
        if allocator is None or decomposer.measure >= allocator.requires:
            continue
        able = [
            n for n, method in decomposers.classes().items() if method.measure >= allocator.requires
        ]
        problems.append(
            f"runs.{name}.{key}: '{section}' needs a decomposer whose spectrum says {allocator.requires}, "
            f"that of '{run.decompose}' says {decomposer.measure}; "
            f"name another allocator, or a decomposer of method {' or '.join(able)}{_ablation(allocator)}"
        )
    return problems


def _multiple_checks(name: str, run: CompressedRun, methods: Methods) -> list[str]:
    """Return the problems of rank multiples that a decomposer with few ranks does not support."""
    ranks = getattr(methods["decompose"].get(run.decompose), "ranks", None)
    problems = []
    for key in ("allocate", "steps_allocate"):
        allocator = methods["allocate"].get(getattr(run, key))
        if ranks is not None and allocator is not None and ranks % allocator.multiple:
            problems.append(
                f"runs.{name}.{key}: ranks in multiples of {allocator.multiple} asked, those of '{run.decompose}' are "
                f"multiples of {ranks}; make allocate.{getattr(run, key)}.multiple a divisor of decompose.{run.decompose}.multiple"
            )
    return problems


def _seed_checks(name: str, run: CompressedRun, methods: dict[str, Any]) -> list[str]:
    """Return the problem of a seed for an allocator that is not random."""
    allocator = methods.get(run.allocate)
    if run.seed is None or allocator is None or hasattr(allocator, "seed"):
        return []
    able = [n for n, method in allocators.classes().items() if "seed" in method.model_fields]
    return [
        f"runs.{name}.seed: {run.seed} given, but '{run.allocate}' draws nothing; "
        f"take it out, or name an allocator of method {' or '.join(able)}"
    ]


def _ablation(allocator: Any) -> str:
    """Return the hint to set ``any_measure``, for an allocator that has it; else ""."""
    return (
        ", or set its any_measure to true" if "any_measure" in type(allocator).model_fields else ""
    )
