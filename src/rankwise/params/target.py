"""What a run is asked to come to: a share of the blocks' linears, all parameters, or bytes on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["keep", "total_params", "checkpoint_bytes"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Target:
    """One budget, as a person asks for it."""

    kind: Kind
    value: int | float
    """Share of the numbers of the decoder layers' linears, parameters of the model, or bytes of the weight files."""

    def __str__(self) -> str:
        return f"{self.kind} {self.shown(self.value)}"

    def shown(self, value: float) -> str:
        """Return a figure of this kind as it is written in a sentence."""
        return f"{value:g}" if self.kind == "keep" else f"{value:,.0f}"

    def short(self) -> str:
        """Return the target as a cell of a table shows it, with its unit."""
        if self.kind == "keep":
            return f"{self.value:.2f}"
        return f"{self.value:,}" if self.kind == "total_params" else f"{self.value / 1e6:.2f} MB"

    def on_the_way(self, dense: float, share: float) -> "Target":
        """Return the target a ``share`` of the way down from the ``dense`` model's figure; rounded up."""
        if self.kind == "keep":
            return Target(self.kind, round(dense - (dense - self.value) * share, 12))
        return Target(self.kind, int(dense) - int((dense - self.value) * share))


def exactly_one_target(given: Mapping[str, Any], suffix: str = "") -> Target:
    """Return the one of the three kinds that is not None; raises ValueError unless it is exactly one."""
    found = {kind: given[kind + suffix] for kind in KINDS if given.get(kind + suffix) is not None}
    if len(found) != 1:
        said = " and ".join(found) or "none"
        raise ValueError(f"give exactly one of {', '.join(KINDS)}; found {said}")
    [(kind, value)] = found.items()
    return Target(kind, value)
