"""Base class of sequential searches: search space, first points, rows, resuming, choice of search sequences."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from rankwise.allocate._history import constant_liar, hyperopt_history, most_varied, refuse_foreign
from rankwise.allocate.base import ScoringAllocator
from rankwise.allocate.problem import Candidate, Choices, Problem, Trials, TrialScore, finite
from rankwise.allocate.rounds import plan_rounds
from rankwise.budget.costs import Choice, keep_reached
from rankwise.errors import RankwiseError, is_out_of_memory
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from collections.abc import Callable

    import hyperopt

    Suggest = Callable[
        [list[int], hyperopt.base.Domain, hyperopt.Trials, int], list[dict[str, Any]]
    ]

log = logging.getLogger("rankwise.allocate")

TIED = {"q": "qk", "k": "qk"}
"""Types that share one variable: Bolaco gives q and k one share; every other type has its own."""
FIRST = {"qk": 0.5, "qkv": 0.5, "o": 0.5}
"""Bolaco's first point: attention 0.5, everything else ``FIRST_OTHER`` (its setting for keep 0.8)."""
FIRST_OTHER = 0.8
FACTORS = (0.25, 4.0)
"""Range of a factor on the predicted losses, in the space ``losses`` [-]."""
DRAWS = 20
"""Random allocations that choose the sequences of `SequentialSearch.validation` (Bolaco)."""


class SequentialSearch(ScoringAllocator):
    """Search over one variable per type, 5×1 (or 5×4 by depth), each trial using the trials before it.

    Types are those of the model's family: LLaMA's six give 5 variables, because q and k share one. All
    experts of a layer share theirs.

    The objective is ``perplexity + kl_weight · KL`` on search text, which nothing else uses. The KL is
    KL(compressed ‖ dense) per token; rows hold both terms (Bolaco, arXiv 2405.10616, §3.2). Trial i uses
    a seed made of (seed, i) and only the rows before its round. Therefore 5 trials and 5 more equal 10
    trials, and the trials of a round may run on any machine. Every point is mapped exactly onto the budget.
    Cost: ``trials`` forward passes over the search text, and 20 more where ``validation`` chooses sequences.
    """

    space: Literal["shares", "losses"] = "shares"
    """``shares``: a share per type; trial 0 is uniform, trial 1 is Bolaco's first point. ``losses``: a factor
    on the predicted losses per type; trial 0 is all 1, the result of the allocator ``least_loss``. The latter
    is for decomposers whose spectrum predicts the model's loss."""
    any_measure: bool = False
    """Whether to allow sums of measures other than the model's loss (an ablation); only for ``losses``."""
    startup: Annotated[int, Field(ge=1)] = 8
    """Trials before the search uses its model of the objective; until then points are random [-]."""
    depth_groups: Annotated[int, Field(ge=1)] = 1
    """Groups of consecutive layers with their own variables; Bolaco: 1 or 4 [-]."""
    bounds: tuple[float, float] = (0.2, 1.001)
    """Range of a share before it is mapped onto the budget; not for ``losses`` [-]."""
    kl_weight: Annotated[float, Field(ge=0)] = 4.1
    """Weight of the KL per token; equals Bolaco's 1e-3 on the sum over 4096 tokens."""
    validation: Annotated[int, Field(ge=1)] | None = None
    """Number of search sequences to score on: those whose perplexity varies most over 20 random
    allocations (Bolaco: 100); null = all."""

    q: Annotated[int, Field(ge=1)] = 1
    """Trials of a round, suggested together; pending points are penalised (constant liar). With more than 1
    every trial is a separate job [-]."""

    @property
    def requires(self) -> Measure:
        """NONE for ``shares``; LOSS for ``losses``, which adds losses; SIZE with ``any_measure``."""
        if self.space == "shares":
            return Measure.NONE
        return Measure.SIZE if self.any_measure else Measure.LOSS

    @abstractmethod
    def suggester(self) -> Suggest:
        """Return a suggest function of Hyperopt's form: (ids, domain, trials, seed) → documents."""

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices of the best trial; the trace stays in ``problem.trials``."""
        trials = problem.trials if problem.trials is not None else Trials()
        done = len(trials.rows)
        self._refuse_foreign(problem, trials.rows)
        if done:
            log.info("%d of %d trials are done already", done, self.trials)
        with tqdm(desc="trials", initial=done, total=self.trials, disable=None) as bar:
            for number in range(done // self.q, len(plan_rounds(self.trials, self.q))):
                suggested = self.suggestions(problem, number, trials.rows)
                for suggestion in suggested[len(trials.rows) - number * self.q :]:
                    trials.add(self.trial(problem, suggestion))
                    bar.update()
        best = trials.best()
        if best is None:
            raise RankwiseError(self._describe_failure(problem, trials.rows))
        return self._choices(problem, best[self.space])

    def suggestions(
        self, problem: Problem, number: int, rows: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the suggestions of a round: trial, point, and the sequences to score on if not all.

        They depend only on the rows of the rounds before it. With ``validation``, the first round scores
        random allocations to choose the sequences.
        """
        self._refuse_foreign(problem, rows)
        labels = self._labels(problem)
        sequences = self._sequences(problem, labels, rows)
        chosen = {"sequences": sequences} if sequences else {}
        history, suggestions = rows[: number * self.q], []
        for index in plan_rounds(self.trials, self.q)[number]:
            point = self._point(index, labels, history)
            suggestions.append({"trial": index, self.space: point} | chosen)
            history = [*history, constant_liar(rows[: number * self.q], index, self.space, point)]
        return suggestions

    def trial(self, problem: Problem, suggestion: dict[str, Any]) -> dict[str, Any]:
        """Return the row of one suggestion; if scoring fails, a row of a failed trial with the error."""
        self._refuse_foreign(problem, [suggestion])
        index, point = suggestion["trial"], suggestion[self.space]
        sequences = suggestion.get("sequences")
        choices = self._choices(problem, point)
        inputs = {self.space: point} | ({"sequences": sequences} if sequences and not index else {})
        try:
            score = problem.scored(choices, sequences)
        except (RankwiseError, RuntimeError) as error:
            if is_out_of_memory(error):  # it is no property of the allocation
                raise
            log.warning("trial %d failed: %s", index, error)
            error_entry = {"error": str(error).partition("\n")[0]}
            score = TrialScore(float("nan"), float("nan"))
        else:
            error_entry = {}
            log.info("trial %d: perplexity %.4f, KL %.4f", index, score.perplexity, score.kl)
        objective = finite(score.perplexity + self.kl_weight * score.kl)
        return {
            "trial": index,
            "status": "ok" if objective is not None else "failed",
            "objective": objective,
            "perplexity": finite(score.perplexity),
            "kl": finite(score.kl),
            "keep_reached": keep_reached(problem.matrices, choices),
            **inputs,
            **error_entry,
        }

    def _describe_failure(self, problem: Problem, rows: list[dict[str, Any]]) -> str:
        messages = [row["error"] for row in rows if "error" in row]
        if messages:
            return f"all {self.trials} trials failed, one of them with: {messages[0]}"
        return (
            f"all {self.trials} trials gave a perplexity that is not finite; "
            f"{problem.budget.target} breaks this model, raise it"
        )

    def _refuse_foreign(self, problem: Problem, rows: list[dict[str, Any]]) -> None:
        refuse_foreign(rows, self.space, self._labels(problem), chosen=self.validation is not None)

    def _labels(self, problem: Problem) -> list[str]:
        """Return the names of the search's variables."""
        return sorted({self._group(problem, name) for name in problem.names})

    def _group(self, problem: Problem, name: str) -> str:
        candidate = problem.candidates[name]
        depth = candidate.layer * self.depth_groups // problem.layers
        return f"{TIED.get(candidate.kind, candidate.kind)}.{depth}"

    def _choices(self, problem: Problem, point: dict[str, float]) -> Choices:
        by_name = {name: point[self._group(problem, name)] for name in problem.names}
        if self.space == "shares":
            return problem.by_shares(by_name, self)
        losses = {
            name: partial(_weight_loss, candidate, by_name[name])
            for name, candidate in problem.candidates.items()
        }
        return problem.minimise(losses, self)

    def _point(self, index: int, labels: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
        """Return the point of trial ``index``, given ``rows`` of the trials before it."""
        if index == 0:
            return dict.fromkeys(labels, 1.0)
        if index == 1 and self.space == "shares":
            return {label: FIRST.get(label.split(".")[0], FIRST_OTHER) for label in labels}
        return self._ask(self.suggester(), f"{self.seed},{index}", labels, rows)

    def _ask(
        self, suggest: Suggest, key: str, labels: list[str], rows: list[dict[str, Any]]
    ) -> dict[str, float]:
        """Return the point that ``suggest`` returns for these rows, with a seed made of ``key``."""
        import hyperopt

        space = {}
        for label in labels:
            if self.space == "shares":
                space[label] = hyperopt.hp.uniform(label, *self.bounds)
            else:
                space[label] = hyperopt.hp.loguniform(label, *np.log(FACTORS).tolist())
        domain = hyperopt.base.Domain(lambda point: 0.0, space)
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        [document] = suggest([len(rows)], domain, hyperopt_history(rows, self.space), seed % 2**31)
        values = document["misc"]["vals"]
        return {label: float(values[label][0]) for label in labels}

    def _sequences(
        self,
        problem: Problem,
        labels: list[str],
        rows: list[dict[str, Any]],
    ) -> list[int] | None:
        """Return the sequences to score on, in order; those of trial 0 where its row exists."""
        if self.validation is None:
            return None
        if rows:
            return list(rows[0]["sequences"])
        import hyperopt

        losses = []
        for draw in tqdm(range(DRAWS), "choosing sequences", disable=None):
            point = self._ask(hyperopt.rand.suggest, f"{self.seed},validation,{draw}", labels, [])
            losses.append(problem.scored(self._choices(problem, point)).losses)
        return most_varied(np.array(losses), self.validation)


def _weight_loss(candidate: Candidate, factor: float, choice: Choice) -> float:
    return factor * candidate.loss(choice)
