"""Allocation problems with random spectra, and allocators with few trials."""

import numpy as np
import torch

from rankwise.allocate import allocators
from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Candidate, Problem, Trials, TrialScore
from rankwise.budget.costs import Kept, Matrix
from rankwise.budget.spending import Budget
from rankwise.params.target import Target

SEQUENCES = 12
FLOOR = 0.05
"""The least share of each break-even rank that is asked for, unless said otherwise [-]."""


KINDS = {
    "q": (32, 32),
    "k": (16, 32),
    "v": (16, 32),
    "o": (32, 32),
    "gate": (88, 32),
    "up": (88, 32),
    "down": (32, 88),
}


def problem(
    layers: int = 3,
    *,
    dense: tuple[str, ...] = (),
    sparse: bool = False,
    keep: float = 0.6,
    kinds: dict[str, tuple[int, int]] = KINDS,
    trials: Trials | None = None,
    scorer=None,
) -> Problem:
    """Random spectra of a small model; the score prefers what keeps the energy of late layers.

    With a sparse part, a rank goes with a quarter as many entries as its factors hold numbers.
    """
    generator = torch.Generator().manual_seed(0)
    matrices, candidates = {}, {}
    for layer in range(layers):
        for kind, shape in kinds.items():
            name = f"{layer}.{kind}"
            stored = 0 if kind in dense else shape[0] * shape[1] // sum(shape)
            ladder = tuple(Kept(rank, rank * sum(shape) // 4) for rank in range(stored + 1))
            ladder = ladder if sparse else ()
            matrices[name] = Matrix(shape, stored, factored_bias=True, ladder=ladder)
            if stored:
                spectrum = torch.rand(min(shape), generator=generator, dtype=torch.float64)
                sizes = torch.rand(ladder[-1].entries if sparse else 0, generator=generator)
                errors = torch.rand(stored + 2, generator=generator, dtype=torch.float64)
                candidates[name] = Candidate(
                    layer,
                    kind,
                    spectrum.sort(descending=True).values,
                    magnitudes=sizes.sort(descending=True).values if sparse else None,
                    ladder=ladder,
                    weight_errors=errors.sort(descending=True).values,
                    sublayer="attention" if kind in "qkvo" else "mlp",
                )

    def score(choices, sequences=None):
        """Sequence i suffers most from truncating layer i modulo the number of layers."""
        each = np.zeros(SEQUENCES)
        for name, c in candidates.items():
            harm = 1 + 5 * (np.arange(SEQUENCES) % layers == c.layer) * np.arange(SEQUENCES)
            each += c.loss(choices[name]) * harm / 1000
        each = each if sequences is None else each[sequences]
        loss = float(each.mean())
        return TrialScore(float(np.exp(2 + loss)), loss, tuple(2 + each))

    similarity = {
        (layer, sublayer): 0.95 - 0.1 * layer - 0.2 * (sublayer == "mlp")
        for layer in range(layers)
        for sublayer in ("attention", "mlp")
    }
    score = scorer or score

    def score_masks(masks):
        """A mask counts as the first of as many: the spectra are flat enough."""
        kept = {name: Kept(int(a.sum()), int(b.sum())) for name, (a, b) in masks.items()}
        return score(dict.fromkeys(matrices) | kept)

    trials = trials or Trials()
    budget = Budget(matrices, Target("keep", keep))
    return Problem(budget, candidates, layers, score, trials, similarity, score_masks)


def make(name: str, **settings):
    cls = allocators[name]
    if issubclass(cls, ScoringAllocator):
        settings = {"trials": 4} | settings
    return cls(**({"multiple": 1, "floor": FLOOR} | settings))
