"""What a search makes of its rows: whose they are, how Hyperopt sees them, what they say of the search text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rankwise.errors import RankwiseError

if TYPE_CHECKING:
    import hyperopt
    from numpy.typing import NDArray


def refuse_foreign(
    given: list[dict[str, Any]], space: str, labels: list[str], *, chosen: bool
) -> None:
    """Refuse rows or suggestions of another search: of other variables, or of the whole text where sequences are chosen."""
    again = "its file is that of another search: remove it, then rankwise run"
    for row in given:
        point = row.get(space, {})
        if sorted(point) != labels:
            raise RankwiseError(
                f"trial {row['trial']}: expected {space} of {', '.join(labels)}, "
                f"found {', '.join(point)[:500] or 'none'}; {again}"
            )
        if chosen and not row["trial"] and not row.get("sequences"):
            raise RankwiseError(f"trial 0: expected the sequences to score on, found none; {again}")


def constant_liar(
    rows: list[dict[str, Any]], trial: int, space: str, point: dict[str, float]
) -> dict[str, Any]:
    """Return the row that stands in for a trial of the same round: as bad as the worst that is known.

    So the next suggestion of the round keeps away from it (constant liar, Ginsbourger et al. 2010).
    """
    known = [row["objective"] for row in rows if row["objective"] is not None]
    return {
        "trial": trial,
        "status": "ok" if known else "failed",
        "objective": max(known, default=None),
        space: point,
    }


def hyperopt_history(rows: list[dict[str, Any]], space: str) -> hyperopt.Trials:
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
