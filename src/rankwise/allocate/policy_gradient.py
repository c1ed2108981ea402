"""CAP's second stage: chances of staying for every component and sparse entry of the model, learned."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Annotated, Any

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
    """One budget for all components and entries of the model, by REINFORCE (CAP, arXiv 2505.03801, stage 2).

    Every candidate stays with chance s. A trial draws masks m ~ Bernoulli(s), scores them by a forward
    pass over search text (loss: log perplexity), and moves
    ``s ← s − eta (loss − baseline) (m − s) / (s (1 − s) + epsilon)``, the baseline being the mean loss of
    the last ``window`` masks; then projects s onto ``{0 ≤ s ≤ 1, cost·s ≤ K}`` (Euclidean, by bisection).
    The selection takes candidates by falling s until one cannot be paid, then what ranks still can.

    Chosen, for it is not published: s starts at the size of a value per root of its cost, relative to
    its matrix, to the power ``sharpness``, scaled until the expected cost is the budget. Deviations: a
    matrix gets as many components and entries as were selected, its first ones, so that factors stay
    prefixes; trial 0 scores the uniform share, trial 1 and every ``check``-th after it the selection of
    the s learned so far, and the best of these is the answer: never worse on search text than uniform
    or than thresholds on the sizes alone. Masks and s follow from (seed, rows), so a search resumes.
    Cost: ``trials`` forward passes, and 8 bytes a few times over for every candidate of the model.

    Use it with `robust_pca` for CAP; a search over single components needs many trials.
    """

    trials: Annotated[int, Field(ge=1)] = 52
    """Forward passes over the search text, checks included [-]; CAP: 3 passes over its data."""
    eta: Annotated[float, Field(gt=0)] = 0.05
    """Step size; CAP: 0.05 [1/nat]."""
    window: Annotated[int, Field(ge=1)] = 5
    """Masks whose losses are averaged as the baseline; CAP: 5 [-]."""
    epsilon: Annotated[float, Field(gt=0)] = 0.1
    """Added to the variance s (1 − s), which bounds a step [-]."""
    sharpness: Annotated[float, Field(gt=0)] = 3.0
    """Exponent on the sizes that s starts from; large: nearly thresholds [-]."""
    check: Annotated[int, Field(ge=2)] = 10
    """Every so many trials the selection itself is scored [-]."""

    @property
    def requires(self) -> Measure:
        """Chances start from the size of every component."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return the best selection that was scored; the trace stays in ``problem.trials``."""
        trials = problem.trials if problem.trials is not None else Trials()
        pool = Pool.of(problem)
        chance = pool.start(self.sharpness)
        losses: list[float] = []
        best: tuple[float, Choices] | None = None
        for index in tqdm(range(self.trials), "trials", disable=None):
            # Rows of an earlier call are not scored again, but gone through: s follows from them.
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
        """Return the chances after one mask, and remember its loss; the first one is only a baseline."""
        recent = losses[-self.window :]
        losses.append(loss)
        if not recent:
            return chance
        ahead = loss - sum(recent) / len(recent)
        slope = (drawn - chance) / (chance * (1 - chance) + self.epsilon)
        return pool.project(chance - self.eta * ahead * slope)

    def _choices(self, problem: Problem, pool: Pool, chance: Values | None) -> Choices:
        """Return the selection by ``chance``, or equal shares for None."""
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
            # A mask meets the budget in expectation only: it teaches, but is no answer.
            "objective": perplexity if kind == "check" else None,
            "perplexity": perplexity,
            "kl": finite(score.kl),
            "keep_reached": share,
        }
