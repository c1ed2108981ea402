"""What the factors of a study say: spectra, notes, and the loss that a run's ranks predict."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwise.artifacts.factors import read_spectra
from rankwise.decompose import decomposers
from rankwise.methods.measure import Measure
from rankwise.records.made import AllocationRecord


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


def read_decompositions(paths: list[Path]) -> dict[tuple[str, str], Decomposition]:
    """Read spectra and notes by (origin, section), which a file's folders are named after."""
    found: dict[tuple[str, str], Decomposition] = {}
    for path in paths:
        head, spectra, entries = read_spectra(path)
        key = (path.parent.parent.name, path.parent.name)
        made = found.setdefault(key, Decomposition(*key, head["method"]))
        for name, spectrum in spectra.items():
            made.spectra[name] = spectrum.double().numpy()
            made.whole[name] = float((made.spectra[name] ** 2).sum()) + entries[name]
        made.notes |= {name: notes for name, notes in head["notes"].items() if notes}
    return found


def predicted_loss(record: AllocationRecord, made: Decomposition) -> float | None:
    """Return the change of the model's loss that a run's choices predict, where its measure is the loss [nats/token]."""
    if decomposers[made.method].measure < Measure.LOSS:
        return None
    return sum(
        linear.relative_error * made.whole[name]
        for name, linear in record.linears.items()
        if linear.relative_error and name in made.whole
    )
