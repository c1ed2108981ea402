"""Statistics that the covariance pass of a study must gather, and checks of its settings."""

from typing import Any

from rankwise.decompose import decomposers
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.study import Params


def required_statistics(params: Params) -> RequiredStatistics:
    """Return the moments that the most demanding section of decompose needs.

    The sections count, not the runs: adding or removing a run must not repeat the covariance pass.
    """
    listed = {params.method("decompose", section) for section in params.decompose}
    return max(
        (decomposers[method].moments for method in listed), default=RequiredStatistics.CHANNELS
    )


def check_statistics(params: Params, methods: dict[str, Any]) -> list[str]:
    """Return the problems of sections covariance and fisher; ``methods`` are decomposers by section name.

    Problems are moments that do not suffice for a decomposer, and a streamed pass over a model that is not
    the dense one.
    """
    covariance, problems = params.covariance, []
    for name, run in params.compressions().items():
        method = methods.get(run.decompose)
        if covariance.moments and method and covariance.gathered < method.moments:
            problems.append(
                f"covariance.moments: '{covariance.moments}' asked, '{run.decompose}' of runs.{name} needs '{method.moments}'; "
                "leave the key out, or ask for more"
            )
        streamed = [part for part in ("covariance", "fisher") if getattr(params, part).streaming]
        if streamed and run.steps > 1:
            problems.append(
                f"runs.{name}.steps: {run.steps} given, statistics of all steps but the first are of compressed models, "
                f"which are not streamed; give 1, or set {streamed[0]}.streaming to false"
            )
    return problems
