"""What the factors of a study say: spectra, notes, and the loss that a run's ranks predict."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwise.artifacts.factors import read_spectra
from rankwise.decompose import decomposers
from rankwise.methods.measure import Measure
from rankwise.records.allocation import AllocationRecord
from rankwise.results.run import RunResult


@dataclass
class Decomposition:
    """One decomposition of a model, all its blocks."""

    origin: str
    """The model whose statistics were used."""
    section: str
    method: str
    spectra: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Linear → its spectrum, descending."""
    whole: dict[str, float] = field(default_factory=dict)
    """Linear → what dropping all of it costs, sparse entries included, in the method's measure."""
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Linear → damping used, what was out of the ordinary."""


def attach_decompositions(results: list[RunResult], factors: Iterable[Path]) -> list[RunResult]:
    """Return the runs, each with its decomposition and, unless it is refined, the loss that it predicts."""
    decompositions = read_decompositions(factors)
    attached = []
    for result in results:
        allocation = result.allocation
        made = decompositions.get((result.origin, allocation.decompose)) if allocation else None
        predicted = None
        if allocation is not None and made is not None and result.refinement is None:
            predicted = predict_loss(allocation, made)
        attached.append(replace(result, decomposition=made, predicted=predicted))
    return attached


def read_decompositions(paths: Iterable[Path]) -> dict[tuple[str, str], Decomposition]:
    """Read spectra and notes by (origin, section), which a file's folders are named after."""
    by_section: dict[tuple[str, str], Decomposition] = {}
    for path in paths:
        head, spectra, entries = read_spectra(path)
        key = (path.parent.parent.name, path.parent.name)
        made = by_section.setdefault(key, Decomposition(*key, head["method"]))
        for name, spectrum in spectra.items():
            made.spectra[name] = spectrum.double().numpy()
            made.whole[name] = float((made.spectra[name] ** 2).sum()) + entries[name]
        made.notes |= {name: notes for name, notes in head["notes"].items() if notes}
    return by_section


def predict_loss(record: AllocationRecord, made: Decomposition) -> float | None:
    """Return the change of the model's loss that a run's choices predict, where its measure is the loss [nats/token]."""
    if decomposers[made.method].measure < Measure.LOSS:
        return None
    return sum(
        linear.relative_error * made.whole[name]
        for name, linear in record.linears.items()
        if linear.relative_error and name in made.whole
    )
