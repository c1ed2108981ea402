"""Target of a run: a share of the layers' linears, all parameters, or bytes on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["keep", "total_params", "checkpoint_bytes"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Target:
    """One budget, as params.yaml sets it."""

    kind: Kind
    value: int | float
    """Share of the numbers of the decoder layers' linears, parameters of the model, or bytes of the weight files."""

    def __str__(self) -> str:
        return f"{self.kind} {self.shown(self.value)}"

    def shown(self, value: float) -> str:
        """Return a value of this kind as text for a sentence."""
        return f"{value:g}" if self.kind == "keep" else f"{value:,.0f}"

    def short(self) -> str:
        """Return the target as text for a table cell, with its unit."""
        if self.kind == "keep":
            return f"{self.value:.2f}"
        return f"{self.value:,}" if self.kind == "total_params" else f"{self.value / 1e6:.2f} MB"

    def on_the_way(self, dense: float, share: float) -> "Target":
        """Return the target after a ``share`` of the reduction from the ``dense`` model's figure; rounded up."""
        if self.kind == "keep":
            return Target(self.kind, round(dense - (dense - self.value) * share, 12))
        return Target(self.kind, int(dense) - int((dense - self.value) * share))


def exactly_one_target(values: Mapping[str, Any], suffix: str = "") -> Target:
    """Return the one target of ``values`` that is not None; raises ValueError unless there is exactly one."""
    targets = {
        kind: values[kind + suffix] for kind in KINDS if values.get(kind + suffix) is not None
    }
    if len(targets) != 1:
        names = " and ".join(targets) or "none"
        raise ValueError(f"give exactly one of {', '.join(KINDS)}; found {names}")
    [(kind, value)] = targets.items()
    return Target(kind, value)
