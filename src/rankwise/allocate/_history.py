"""Rows of a search as Hyperopt's algorithms see them, and what stands in for trials that still run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import hyperopt


def lie(
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


def history(rows: list[dict[str, Any]], space: str) -> hyperopt.Trials:
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
