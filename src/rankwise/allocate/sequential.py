"""What sequential searches share: the space, the first points, rows, resuming, choice of text."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Candidate, Choices, Problem, Trials, finite
from rankwise.budget import Choice, keep_reached
from rankwise.errors import RankwiseError
from rankwise.measure import Measure

if TYPE_CHECKING:
    from collections.abc import Callable

    import hyperopt
    from numpy.typing import NDArray

    Suggest = Callable[
        [list[int], hyperopt.base.Domain, hyperopt.Trials, int], list[dict[str, Any]]
    ]

log = logging.getLogger("rankwise.allocate")

TIED = {"q": "qk", "k": "qk"}
"""Bolaco gives q and k one share together; every other type has its own."""
FIRST = {"qk": 0.5, "qkv": 0.5, "o": 0.5}
"""Bolaco's first point: attention 0.5, everything else ``FIRST_OTHER`` (its setting for keep 0.8)."""
FIRST_OTHER = 0.8
FACTORS = (0.25, 4.0)
"""Range of a factor on the predicted losses, in the space ``losses`` [-]."""
DRAWS = 20
"""Random allocations by which the sequences of `SequentialSearch.validation` are chosen (Bolaco)."""


class SequentialSearch(ScoringAllocator):
    """Search over one variable per type, 5×1 (or 5×4 by depth), each trial seeing those before it.

    Types are those of the model's family: LLaMA's six give 5 variables, q and k sharing one; all
    experts of a layer share theirs.

    Objective on search text, which nothing else uses: ``perplexity + kl_weight · KL``, the KL being
    KL(compressed ‖ dense) per token; both terms are recorded apart (Bolaco, arXiv 2405.10616, §3.2).
    Trial i draws with a seed made of (seed, i) and from the rows before it, so 5 trials and 5 more are
    10. Every point is mapped onto the budget exactly. Cost: ``trials`` forward passes over the search
    text, and 20 more where ``validation`` chooses its sequences.
    """

    space: Literal["shares", "losses"] = "shares"
    """``shares``: a share per type, trial 0 uniform, trial 1 Bolaco's first point. ``losses``: a factor
    on the predicted losses per type, trial 0 all 1, the answer of the allocator ``curvature``: for
    decomposers whose spectrum predicts the model's loss."""
    any_measure: bool = False
    """Whether sums of other measures than the model's loss are meant (an ablation); else refused; only for ``losses``."""
    startup: Annotated[int, Field(ge=1)] = 8
    """Trials before the model of the objective is trusted; drawn at random until then [-]."""
    depth_groups: Annotated[int, Field(ge=1)] = 1
    """Contiguous groups of layers with variables of their own; Bolaco: 1 or 4."""
    bounds: tuple[float, float] = (0.2, 1.001)
    """Range of a share before it is mapped onto the budget; not for ``losses`` [-]."""
    kl_weight: Annotated[float, Field(ge=0)] = 4.1
    """Weight of the KL per token; Bolaco's 1e-3 on the sum over 4096 tokens."""
    validation: Annotated[int, Field(ge=1)] | None = None
    """Sequences of the search text to score on: those whose perplexity varies most over 20 random
    allocations (Bolaco: 100); null = all."""

    @property
    def needs(self) -> Measure:
        """Shares need nothing of the spectrum; the space ``losses`` adds losses up."""
        if self.space == "shares":
            return Measure.NONE
        return Measure.SIZE if self.any_measure else Measure.LOSS

    @abstractmethod
    def suggester(self) -> Suggest:
        """Return a suggest function of Hyperopt's form: (ids, domain, trials, seed) → documents."""

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices of the best trial; the trace stays in ``problem.trials``."""
        trials = problem.trials if problem.trials is not None else Trials()
        at = partial(self._choices, problem)
        labels = sorted({self._group(problem, name) for name in problem.names})
        done = len(trials.rows)
        if done:
            log.info("%d of %d trials are done already", done, self.trials)
        sequences = self._sequences(problem, at, labels, trials.rows)
        for index in tqdm(
            range(done, self.trials), "trials", initial=done, total=self.trials, disable=None
        ):
            point = self._point(index, labels, trials.rows)
            row = self._row(problem, index, at(point), sequences) | {self.space: point}
            trials.add(row | ({"sequences": sequences} if sequences and index == 0 else {}))
        best = trials.best()
        if best is None:
            raise RankwiseError(
                f"all {self.trials} trials gave a perplexity that is not finite; {problem.budget.target} breaks this model, raise it"
            )
        return at(best[self.space])

    def _group(self, problem: Problem, name: str) -> str:
        candidate = problem.candidates[name]
        depth = candidate.layer * self.depth_groups // problem.layers
        return f"{TIED.get(candidate.kind, candidate.kind)}.{depth}"

    def _choices(self, problem: Problem, point: dict[str, float]) -> Choices:
        by_name = {name: point[self._group(problem, name)] for name in problem.names}
        if self.space == "shares":
            return problem.by_shares(by_name, self)
        losses = {
            name: partial(_weighted, candidate, by_name[name])
            for name, candidate in problem.candidates.items()
        }
        return problem.minimise(losses, self)

    def _row(
        self, problem: Problem, index: int, choices: Choices, sequences: list[int] | None
    ) -> dict[str, Any]:
        score = problem.scored(choices, sequences)
        objective = finite(score.perplexity + self.kl_weight * score.kl)
        log.info("trial %d: perplexity %.4f, KL %.4f", index, score.perplexity, score.kl)
        return {
            "trial": index,
            "status": "ok" if objective is not None else "failed",
            "objective": objective,
            "perplexity": finite(score.perplexity),
            "kl": finite(score.kl),
            "keep_reached": keep_reached(problem.matrices, choices),
        }

    def _point(self, index: int, labels: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
        """Return the point of trial ``index``, given all rows before it."""
        if index == 0:
            return dict.fromkeys(labels, 1.0)
        if index == 1 and self.space == "shares":
            return {label: FIRST.get(label.split(".")[0], FIRST_OTHER) for label in labels}
        return self._ask(self.suggester(), f"{self.seed},{index}", labels, rows)

    def _ask(
        self, suggest: Suggest, key: str, labels: list[str], rows: list[dict[str, Any]]
    ) -> dict[str, float]:
        """Return what ``suggest`` answers to these rows, with a seed made of ``key``."""
        import hyperopt

        space = {}
        for label in labels:
            if self.space == "shares":
                space[label] = hyperopt.hp.uniform(label, *self.bounds)
            else:
                space[label] = hyperopt.hp.loguniform(label, *np.log(FACTORS).tolist())
        domain = hyperopt.base.Domain(lambda point: 0.0, space)
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        [document] = suggest([len(rows)], domain, _history(rows, self.space), seed % 2**31)
        values = document["misc"]["vals"]
        return {label: float(values[label][0]) for label in labels}

    def _sequences(
        self,
        problem: Problem,
        at: Callable[[dict[str, float]], Choices],
        labels: list[str],
        rows: list[dict[str, Any]],
    ) -> list[int] | None:
        """Return the sequences to score on, in order; those of trial 0 where that is done."""
        if self.validation is None:
            return None
        if rows:
            return list(rows[0]["sequences"])
        import hyperopt

        losses = []
        for draw in tqdm(range(DRAWS), "choosing sequences", disable=None):
            point = self._ask(hyperopt.rand.suggest, f"{self.seed},validation,{draw}", labels, [])
            losses.append(problem.scored(at(point)).losses)
        return most_varied(np.array(losses), self.validation)


def most_varied(losses: NDArray[np.float64], count: int) -> list[int]:
    """Return the sequences whose perplexity has the largest standard deviation, [count], rising.

    ``losses`` [allocations, sequences]: mean per token. Allocations that broke the model are left out.
    """
    if count > losses.shape[1]:
        raise RankwiseError(
            f"validation asks for {count} search sequences of {losses.shape[1]}; lower it or raise sample.search.sequences"
        )
    with np.errstate(over="ignore"):
        perplexity = np.exp(losses)
    whole = perplexity[np.isfinite(perplexity).all(1)]
    if len(whole) < 2:
        raise RankwiseError(
            f"validation: only {len(whole)} of {len(losses)} random allocations gave finite perplexities, 2 are needed; "
            "raise keep, or set validation to null"
        )
    return sorted(np.argsort(-whole.std(0), kind="stable")[:count].tolist())


def _weighted(candidate: Candidate, factor: float, choice: Choice) -> float:
    return factor * candidate.loss(choice)


def _history(rows: list[dict[str, Any]], space: str) -> hyperopt.Trials:
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
            "idxs": {label: [tid] for label in row[space]},
            "vals": {label: [np.float64(value)] for label, value in row[space].items()},
        }
        [document] = trials.new_trial_docs([tid], [None], [result], [misc])
        document["state"] = hyperopt.JOB_STATE_DONE
        documents.append(document)
    trials.insert_trial_docs(documents)
    trials.refresh()
    return trials
