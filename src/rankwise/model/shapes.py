"""The shape of a linear, however the library holds its weight."""

from typing import Any


def shape_of(linear: Any) -> tuple[int, int]:
    """Return [out, in] of a linear, factored or not; GPT-2's Conv1D names its sizes ``nf`` and ``nx``."""
    if hasattr(linear, "nf"):
        return linear.nf, linear.nx
    return linear.out_features, linear.in_features
