"""Functions on rows that `rankwise.allocate.problem.Trials` read: refusal of another search's points,
conversion to Hyperopt, choice of search sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    import hyperopt
    from numpy.typing import NDArray


def refuse_foreign(
    rows: list[dict[str, Any]], space: str, labels: list[str], *, chosen: bool
) -> None:
    """Raise RankwiseError for rows or suggestions of another search.

    Their variables differ from ``labels``, or with ``chosen`` trial 0 has no sequences to score on.
    """
    remedy = "its file is that of another search: remove it, then rankwise run"
    for row in rows:
        point = row.get(space, {})
        if sorted(point) != labels:
            raise RankwiseError(
                f"trial {row['trial']}: expected {space} of {', '.join(labels)}, "
                f"found {', '.join(point)[:500] or 'none'}; {remedy}"
            )
        if chosen and not row["trial"] and not row.get("sequences"):
            raise RankwiseError(
                f"trial 0: expected the sequences to score on, found none; {remedy}"
            )


def constant_liar(
    rows: list[dict[str, Any]], trial: int, space: str, point: dict[str, float]
) -> dict[str, Any]:
    """Return the placeholder row of a pending trial of the same round, with the worst known objective.

    The penalty keeps the next suggestion of the round away from it (constant liar, Ginsbourger et al. 2010).
    """
    known = [row["objective"] for row in rows if row["objective"] is not None]
    return {
        "trial": trial,
        "status": "ok" if known else "failed",
        "objective": max(known, default=None),
        space: point,
    }


def hyperopt_history(rows: list[dict[str, Any]], space: str) -> hyperopt.Trials:
    """Return the rows as Hyperopt's trials; a failed row is a failed trial."""
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


def most_varied(losses: NDArray[np.float64], count: int) -> list[int]:
    """Return the sequences [count] whose perplexity has the largest standard deviation, in rising order.

    ``losses`` [allocations, sequences]: mean per token [nats]. Allocations with a perplexity that is not
    finite do not count.
    """
    if count > losses.shape[1]:
        raise RankwiseError(
            f"validation asks for {count} search sequences of {losses.shape[1]}; lower it or raise sample.search.sequences"
        )
    with np.errstate(over="ignore"):
        perplexity = np.exp(losses)
    finite_rows = perplexity[np.isfinite(perplexity).all(1)]
    if len(finite_rows) < 2:
        raise RankwiseError(
            f"validation: only {len(finite_rows)} of {len(losses)} random allocations gave finite perplexities, 2 are needed; "
            "raise keep, or set validation to null"
        )
    return sorted(np.argsort(-finite_rows.std(0), kind="stable")[:count].tolist())
