"""What a run asked for, as a record holds it."""

from typing import Any

from pydantic import BaseModel

from rankwise.params.target import KINDS, Target, exactly_one_target


class Asked(BaseModel):
    """What a run was asked to come to: one of the three, the others null; what was reached stands beside it."""

    keep_asked: float | None = None
    total_params_asked: int | None = None
    checkpoint_bytes_asked: int | None = None

    @property
    def asked(self) -> Target:
        """The one that was asked for."""
        return exactly_one_target(dict(self), "_asked")


def target_fields(target: Target) -> dict[str, Any]:
    """Return a target as fields of `Asked`."""
    return {f"{kind}_asked": target.value if kind == target.kind else None for kind in KINDS}
