"""CAP's second stage: learned probabilities of keeping each component and nonzero of the model."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from tqdm import tqdm

from rankwise.allocate._pool import Pool
from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Choices, Problem, Trials, TrialScore, finite
from rankwise.budget.costs import keep_reached
from rankwise.errors import RankwiseError
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate._pool import Mask, Values

log = logging.getLogger("rankwise.allocate")


class PolicyGradient(ScoringAllocator):
    """One budget for all components and nonzeros of the model, by REINFORCE (CAP, arXiv 2505.03801, stage 2).

    Every candidate is kept with probability s. A trial draws masks m ~ Bernoulli(s), scores them by a
    forward pass over search text (loss: log perplexity), and updates
    ``s ← s − eta (loss − baseline) (m − s) / (s (1 − s) + epsilon)``. The baseline is the mean loss of the
    last ``window`` masks. Then it projects s onto ``{0 ≤ s ≤ 1, cost·s ≤ K}`` (Euclidean, by bisection).
    The selection takes candidates by falling s until the budget cannot pay for one, then the ranks that it
    still can pay for.

    Not published, so chosen here: s starts at the size of a value per square root of its cost, relative to
    its matrix, to the power ``sharpness``, scaled until the expected cost is the budget. Deviations: a
    matrix keeps its first components and nonzeros, as many as were selected, so that factors stay prefixes.
    Trial 0 scores the uniform share; trial 1 and every ``check``-th after it score the selection of the
    current s. The best of these is the result, so it is never worse on search text than uniform or than
    thresholds on the sizes alone. Masks and s follow from (seed, rows), so a search can resume.
    Cost: ``trials`` forward passes; memory: a few times 8 bytes for every candidate of the model.

    Use it with `robust_pca` for CAP; a search over single components needs many trials.
    """

    summary: ClassVar[str] = (
        "One budget for all components and entries of the model, by REINFORCE (CAP, arXiv 2505.03801, stage 2)."
    )

    trials: Annotated[int, Field(ge=1)] = 52
    """Forward passes over the search text, including checks [-]; CAP: 3 passes over its data."""
    eta: Annotated[float, Field(gt=0)] = 0.05
    """Step size; CAP: 0.05 [1/nat]."""
    window: Annotated[int, Field(ge=1)] = 5
    """Masks whose mean loss is the baseline; CAP: 5 [-]."""
    epsilon: Annotated[float, Field(gt=0)] = 0.1
    """Added to the variance s (1 − s); it bounds a step [-]."""
    sharpness: Annotated[float, Field(gt=0)] = 3.0
    """Exponent of the sizes in the initial s; large values approach thresholds [-]."""
    check: Annotated[int, Field(ge=2)] = 10
    """Trials from one scoring of the selection to the next [-]."""

    @property
    def requires(self) -> Measure:
        """SIZE: the initial probabilities need the sizes of components."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return the best selection that was scored; the trace stays in ``problem.trials``."""
        trials = problem.trials if problem.trials is not None else Trials()
        pool = Pool.of(problem)
        chance = pool.start(self.sharpness)
        losses: list[float] = []
        best: tuple[float, Choices] | None = None
        for index in tqdm(range(self.trials), "trials", disable=None):
            # Rows of an earlier call are replayed without scoring, because s follows from them.
            done = trials.rows[index] if index < len(trials.rows) else None
            if index % self.check == 1 or index == 0:
                choices = self._choices(problem, pool, chance if index else None)
                share = keep_reached(problem.matrices, choices)
                row = done or self._row(index, problem.scored(choices), share, "check")
                if row["objective"] is not None and (best is None or row["objective"] < best[0]):
                    best = row["objective"], choices
            else:
                drawn = np.random.default_rng((self.seed, index)).random(len(chance)) < chance
                share = pool.share(drawn)
                row = done or self._row(
                    index, problem.scored_masks(pool.masks(drawn)), share, "mask"
                )
                if row["status"] == "ok":
                    chance = self._learn(pool, chance, drawn, math.log(row["perplexity"]), losses)
            if done is None:
                trials.add(row)
        if best is None:
            raise RankwiseError(
                f"all allocations checked in {self.trials} trials gave a perplexity that is not finite; {problem.budget.target} breaks this model, raise it"
            )
        return best[1]

    def _learn(
        self, pool: Pool, chance: Values, drawn: Mask, loss: float, losses: list[float]
    ) -> Values:
        """Return the probabilities after one mask, and append its loss; the first mask only sets the baseline."""
        recent = losses[-self.window :]
        losses.append(loss)
        if not recent:
            return chance
        excess = loss - sum(recent) / len(recent)
        slope = (drawn - chance) / (chance * (1 - chance) + self.epsilon)
        return pool.project(chance - self.eta * excess * slope)

    def _choices(self, problem: Problem, pool: Pool, chance: Values | None) -> Choices:
        """Return the selection by ``chance``, or equal shares where it is None."""
        if chance is None:
            return problem.by_shares(dict.fromkeys(problem.names, 1.0), self)
        return pool.select(problem, chance, self)

    @staticmethod
    def _row(index: int, score: TrialScore, share: float, kind: str) -> dict[str, Any]:
        log.info("trial %d (%s): perplexity %.4f, KL %.4f", index, kind, score.perplexity, score.kl)
        perplexity = finite(score.perplexity)
        return {
            "trial": index,
            "kind": kind,
            "status": "ok" if perplexity is not None else "failed",
            # A mask meets the budget only in expectation, so it cannot be the result.
            "objective": perplexity if kind == "check" else None,
            "perplexity": perplexity,
            "kl": finite(score.kl),
            "keep_reached": share,
        }
