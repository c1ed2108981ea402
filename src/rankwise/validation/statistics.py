"""What the covariance pass of a study has to gather, and what it is asked in vain."""

from typing import Any

from rankwise.decompose import decomposers
from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.stages import Params


def required_statistics(params: Params) -> RequiredStatistics:
    """Return the moments that the most demanding section of decompose needs.

    Not of the runs: one that is taken out or put in would have the whole model gathered again.
    """
    listed = {params.method("decompose", section) for section in params.decompose}
    return max(
        (decomposers[method].moments for method in listed), default=RequiredStatistics.CHANNELS
    )


def check_statistics(params: Params, methods: dict[str, Any]) -> list[str]:
    """Return what is wrong with sections covariance and fisher, given the decomposers by name of their section.

    Statistics that say less than a decomposer needs, and a streamed pass over models that are not the
    dense one.
    """
    asked, problems = params.covariance, []
    for name, run in params.compressions().items():
        method = methods.get(run.decompose)
        if asked.moments and method and asked.gathered < method.moments:
            problems.append(
                f"covariance.moments: '{asked.moments}' asked, '{run.decompose}' of runs.{name} needs '{method.moments}'; "
                "leave the key out, or ask for more"
            )
        streamed = [part for part in ("covariance", "fisher") if getattr(params, part).streaming]
        if streamed and run.steps > 1:
            problems.append(
                f"runs.{name}.steps: {run.steps} given, statistics of all steps but the first are of compressed models, "
                f"which are not streamed; give 1, or set {streamed[0]}.streaming to false"
            )
    return problems
