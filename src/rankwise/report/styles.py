"""How a run looks: colour means method, symbol and dash the budget asked for, in every figure."""

from rankwise.report.study import RunResult
from rankwise.runs import DENSE

COLORS = ("#3f7fd0", "#d97a1f", "#1d9a86", "#b84a8c", "#7f67c8", "#8b8a2e", "#c0503f", "#4f9db8")
DENSE_COLOR = "#858b94"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


class Styles:
    """Colour, symbol and dash of every run."""

    def __init__(self, results: list[RunResult]) -> None:
        runs = [result for result in results if result.name != DENSE]
        self.methods = list(dict.fromkeys(result.method for result in runs))
        asked = {result.scores.asked for result in runs}
        self.targets = sorted(asked, key=lambda target: (target.kind, -target.value))

    def color(self, result: RunResult) -> str:
        """Colour of the run's method."""
        if result.name == DENSE:
            return DENSE_COLOR
        return COLORS[self.methods.index(result.method) % len(COLORS)]

    def symbol(self, result: RunResult) -> str:
        """Marker of the run's budget."""
        if result.name == DENSE:
            return "line-ns-open"
        return SYMBOLS[self.targets.index(result.scores.asked) % len(SYMBOLS)]

    def dash(self, result: RunResult) -> str:
        """Line style of the run's budget."""
        return DASHES[self.targets.index(result.scores.asked) % len(DASHES)]
