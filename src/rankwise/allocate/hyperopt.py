"""Search for the allocation with Hyperopt's algorithms over Bolaco's space."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from rankwise.allocate.sequential import SequentialSearch

if TYPE_CHECKING:
    from rankwise.allocate.sequential import Suggest


class Hyperopt(SequentialSearch):
    """TPE, annealing or random search over one variable per type, 5×1 (or 5×4 by depth).

    Trial 0 is the uniform share, so that the search is never worse than it on the search text. Trial 1 is
    Bolaco's first point (arXiv 2405.10616, §3.2). With ``space: losses`` trial 0 is the closed form.

    Deviations: TPE (or annealing, or random search) replaces the Gaussian process, which is ``gp``. The
    search maps every suggestion exactly onto the budget, where the paper rejects those that miss it, so only
    ratios between shares matter. Cost: ``trials`` forward passes over the search text.

    Use it with decomposers whose spectra do not measure the model's loss, such as `pooled_pca`, or in rounds (``q``)
    on a cluster.
    """

    summary: ClassVar[str] = (
        "TPE, annealing or random search over one variable per type, 5×1 (or 5×4 by depth)."
    )

    algorithm: Literal["tpe", "anneal", "rand"] = "tpe"
    """Tree of Parzen estimators, annealing or random search."""

    def suggester(self) -> Suggest:
        """Return Hyperopt's suggest function."""
        import hyperopt

        options = {"n_startup_jobs": self.startup} if self.algorithm == "tpe" else {}
        return partial(getattr(hyperopt, self.algorithm).suggest, **options)
