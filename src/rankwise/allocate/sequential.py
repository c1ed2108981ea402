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
    Trial i draws with a seed made of (seed, i) and from the rows before its round, so 5 trials and 5 more
    are 10, and the trials of a round may run anywhere. Every point is mapped onto the budget exactly. Cost: ``trials`` forward passes over the search
    text, and 20 more where ``validation`` chooses its sequences.
    """

    space: Literal["shares", "losses"] = "shares"
    """``shares``: a share per type, trial 0 uniform, trial 1 Bolaco's first point. ``losses``: a factor
    on the predicted losses per type, trial 0 all 1, the answer of the allocator ``least_loss``: for
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

    q: Annotated[int, Field(ge=1)] = 1
    """Trials of a round: suggested together, each as if those before it had been as bad as the worst known;
    more than 1 makes every trial a job of its own [-]."""

    @property
    def requires(self) -> Measure:
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
            raise RankwiseError(self._all_failed(problem, trials.rows))
        return self._choices(problem, best[self.space])

    def suggestions(
        self, problem: Problem, number: int, rows: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return what to try in a round: trial, its point, and the sequences to score on if not all.

        From the rows of the rounds before it alone. The first round scores random allocations where
        ``validation`` chooses the sequences.
        """
        self._refuse_foreign(problem, rows)
        labels = self._labels(problem)
        sequences = self._sequences(problem, labels, rows)
        chosen = {"sequences": sequences} if sequences else {}
        seen, found = rows[: number * self.q], []
        for index in plan_rounds(self.trials, self.q)[number]:
            point = self._point(index, labels, seen)
            found.append({"trial": index, self.space: point} | chosen)
            seen = [*seen, constant_liar(rows[: number * self.q], index, self.space, point)]
        return found

    def trial(self, problem: Problem, suggestion: dict[str, Any]) -> dict[str, Any]:
        """Return the row of one suggestion; one that cannot be scored is a failed trial, and says why."""
        self._refuse_foreign(problem, [suggestion])
        index, point = suggestion["trial"], suggestion[self.space]
        sequences = suggestion.get("sequences")
        choices = self._choices(problem, point)
        given = {self.space: point} | ({"sequences": sequences} if sequences and not index else {})
        try:
            score = problem.scored(choices, sequences)
        except (RankwiseError, RuntimeError) as error:
            if is_out_of_memory(error):  # says nothing of the allocation
                raise
            log.warning("trial %d failed: %s", index, error)
            said = {"error": str(error).partition("\n")[0]}
            score = TrialScore(float("nan"), float("nan"))
        else:
            said = {}
            log.info("trial %d: perplexity %.4f, KL %.4f", index, score.perplexity, score.kl)
        objective = finite(score.perplexity + self.kl_weight * score.kl)
        return {
            "trial": index,
            "status": "ok" if objective is not None else "failed",
            "objective": objective,
            "perplexity": finite(score.perplexity),
            "kl": finite(score.kl),
            "keep_reached": keep_reached(problem.matrices, choices),
            **given,
            **said,
        }

    def _all_failed(self, problem: Problem, rows: list[dict[str, Any]]) -> str:
        said = [row["error"] for row in rows if "error" in row]
        if said:
            return f"all {self.trials} trials failed, one of them with: {said[0]}"
        return (
            f"all {self.trials} trials gave a perplexity that is not finite; "
            f"{problem.budget.target} breaks this model, raise it"
        )

    def _refuse_foreign(self, problem: Problem, given: list[dict[str, Any]]) -> None:
        refuse_foreign(given, self.space, self._labels(problem), chosen=self.validation is not None)

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
            name: partial(_weighted, candidate, by_name[name])
            for name, candidate in problem.candidates.items()
        }
        return problem.minimise(losses, self)

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
        [document] = suggest([len(rows)], domain, hyperopt_history(rows, self.space), seed % 2**31)
        values = document["misc"]["vals"]
        return {label: float(values[label][0]) for label in labels}

    def _sequences(
        self,
        problem: Problem,
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
            losses.append(problem.scored(self._choices(problem, point)).losses)
        return most_varied(np.array(losses), self.validation)


def _weighted(candidate: Candidate, factor: float, choice: Choice) -> float:
    return factor * candidate.loss(choice)
