"""How a run looks in every figure: colour and shape mean the method, filling and dash the budget asked for.

Shape says again what colour does, for readers who cannot tell colours apart and for prints without any.
"""

from rankwise.params.names import DENSE
from rankwise.results.run import RunResult

COLORS = ("#3f7fd0", "#d97a1f", "#1d9a86", "#b84a8c", "#7f67c8", "#8b8a2e", "#c0503f", "#4f9db8")
DENSE_COLOR, DENSE_SYMBOL = "#858b94", "line-ns-open"
SYMBOLS = {
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z",
    "square": "M-4-4H4V4H-4Z",
    "diamond": "M0-5.5 5.5 0 0 5.5-5.5 0Z",
    "triangle-up": "M0-5 5 3.7H-5Z",
    "cross": "M-5-1.7H-1.7V-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5Z",
    "triangle-down": "M0 5 5-3.7H-5Z",
    "x": "M0-2.4 2.4-4.8 4.8-2.4 2.4 0 4.8 2.4 2.4 4.8 0 2.4-2.4 4.8-4.8 2.4-2.4 0-4.8-2.4-2.4-4.8Z",
    "pentagon": "M0-5 4.8-1.5 2.9 4H-2.9L-4.8-1.5Z",
    "triangle-left": "M-5 0 3.7-5V5Z",
    "star": "M0-5.5 1.3-1.8 5.2-1.7 2.1.7 3.2 4.4 0 2.2-3.2 4.4-2.1.7-5.2-1.7-1.3-1.8Z",
    "triangle-right": "M5 0-3.7-5V5Z",
    "line-ns": "M0-5V5",
}
"""Plotly's name of a marker → its outline for the legend, as an SVG path about the origin."""
SHAPES = tuple(name for name in SYMBOLS if f"{name}-open" != DENSE_SYMBOL)
FILLINGS = ("", "-open", "-dot", "-open-dot")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
APART = 5
"""Shapes by which budgets are shifted that have a filling in common."""


class Styles:
    """Colour, symbol and dash of every run; runs that differ in their seed alone look the same."""

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
        """Marker of the run: the shape its method's, the filling its budget's."""
        if result.name == DENSE:
            return DENSE_SYMBOL
        budget = self.targets.index(result.scores.asked)
        shape = self.methods.index(result.method) + APART * (budget // len(FILLINGS))
        return SHAPES[shape % len(SHAPES)] + FILLINGS[budget % len(FILLINGS)]

    def dash(self, result: RunResult) -> str:
        """Line style of the run's budget."""
        return DASHES[self.targets.index(result.scores.asked) % len(DASHES)]
