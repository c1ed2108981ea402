"""Search for the allocation with Hyperopt over Bolaco's space of shares per type."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Choices, Problem, Trials, finite
from rankwise.budget import keep_reached
from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    import hyperopt

log = logging.getLogger("rankwise.allocate")

TIED = {"q": "qk", "k": "qk"}
"""Bolaco gives q and k one share together; every other type has its own."""
FIRST = {"qk": 0.5, "o": 0.5}
"""Bolaco's first point: attention 0.5, everything else ``FIRST_OTHER`` (its setting for keep 0.8)."""
FIRST_OTHER = 0.8


class Hyperopt(ScoringAllocator):
    """Sequential search over one share per type, 5×1 (or 5×4 by depth), Bolaco §3.2.

    Objective on search text, which nothing else uses: ``perplexity + kl_weight · KL``, the KL being
    KL(compressed ‖ dense) per token; both terms are recorded apart. Trial 0 is the uniform share,
    so that the search never loses to it on its own text, trial 1 Bolaco's first point.

    Deviations: TPE (or annealing, or random) in place of a Gaussian process; every suggestion is
    mapped onto the budget exactly where the paper rejects those that miss it, so only ratios between
    shares matter. Trial i draws with a seed made of (seed, i) and from the rows before it, so 5 trials
    and 5 more are 10. Cost: ``trials`` forward passes over the search text.
    """

    algorithm: Literal["tpe", "anneal", "rand"] = "tpe"
    startup: Annotated[int, Field(ge=1)] = 8
    """Trials before TPE trusts its model; drawn at random until then [-]."""
    depth_groups: Annotated[int, Field(ge=1)] = 1
    """Contiguous groups of layers with shares of their own; Bolaco: 1 or 4."""
    bounds: tuple[float, float] = (0.2, 1.001)
    """Range of a share before it is mapped onto the budget [-]."""
    kl_weight: Annotated[float, Field(ge=0)] = 4.1
    """Weight of the KL per token; Bolaco's 1e-3 on the sum over 4096 tokens."""

    def __call__(self, problem: Problem, keep: float) -> Choices:
        """Return the ranks of the best trial; the trace stays in ``problem.trials``."""
        trials = problem.trials if problem.trials is not None else Trials()
        groups = {name: self._group(problem, name) for name in problem.names}
        labels = sorted(set(groups.values()))
        done = len(trials.rows)
        if done:
            log.info("%d of %d trials are done already", done, self.trials)
        for index in tqdm(
            range(done, self.trials), "trials", initial=done, total=self.trials, disable=None
        ):
            shares = self._suggest(index, labels, trials.rows)
            choices = self._choices(problem, keep, groups, shares)
            trials.add(self._row(problem, index, shares, choices))
        best = trials.best()
        if best is None:
            raise RankwiseError(
                f"all {self.trials} trials gave a perplexity that is not finite; keep {keep} breaks this model, raise it"
            )
        return self._choices(problem, keep, groups, best["shares"])

    def _group(self, problem: Problem, name: str) -> str:
        candidate = problem.candidates[name]
        depth = candidate.layer * self.depth_groups // problem.layers
        return f"{TIED.get(candidate.kind, candidate.kind)}.{depth}"

    def _choices(
        self, problem: Problem, keep: float, groups: dict[str, str], shares: dict[str, float]
    ) -> Choices:
        by_name = {name: shares[group] for name, group in groups.items()}
        return problem.by_shares(keep, by_name, self)

    def _row(
        self, problem: Problem, index: int, shares: dict[str, float], choices: Choices
    ) -> dict[str, Any]:
        score = problem.scored(choices)
        objective = finite(score.perplexity + self.kl_weight * score.kl)
        log.info("trial %d: perplexity %.4f, KL %.4f", index, score.perplexity, score.kl)
        return {
            "trial": index,
            "status": "ok" if objective is not None else "failed",
            "objective": objective,
            "perplexity": finite(score.perplexity),
            "kl": finite(score.kl),
            "keep_reached": keep_reached(problem.matrices, choices),
            "shares": shares,
        }

    def _suggest(
        self, index: int, labels: list[str], rows: list[dict[str, Any]]
    ) -> dict[str, float]:
        """Return the shares of trial ``index``, given all rows before it."""
        if index == 0:
            return dict.fromkeys(labels, 1.0)
        if index == 1:
            return {label: FIRST.get(label.split(".")[0], FIRST_OTHER) for label in labels}
        import hyperopt

        space = {label: hyperopt.hp.uniform(label, *self.bounds) for label in labels}
        domain = hyperopt.base.Domain(lambda point: 0.0, space)
        history = _history(rows)
        seed = int.from_bytes(hashlib.sha256(f"{self.seed},{index}".encode()).digest()[:4], "big")
        algorithm = getattr(hyperopt, self.algorithm).suggest
        options = {"n_startup_jobs": self.startup} if self.algorithm == "tpe" else {}
        [document] = algorithm([index], domain, history, seed % 2**31, **options)
        values = document["misc"]["vals"]
        return {label: float(values[label][0]) for label in labels}


def _history(rows: list[dict[str, Any]]) -> hyperopt.Trials:
    """Return rows as Hyperopt's trials; a failed row counts as failed there too."""
    import hyperopt

    trials = hyperopt.Trials()
    documents = []
    for row in rows:
        tid = row["trial"]
        status = hyperopt.STATUS_OK if row["status"] == "ok" else hyperopt.STATUS_FAIL
        result = {"status": status}
        if row["objective"] is not None:
            result["loss"] = row["objective"]
        misc = {
            "tid": tid,
            "cmd": ("domain_attachment", "FMinIter_Domain"),
            "workdir": None,
            "idxs": {label: [tid] for label in row["shares"]},
            "vals": {label: [np.float64(share)] for label, share in row["shares"].items()},
        }
        [document] = trials.new_trial_docs([tid], [None], [result], [misc])
        document["state"] = hyperopt.JOB_STATE_DONE
        documents.append(document)
    trials.insert_trial_docs(documents)
    trials.refresh()
    return trials
