"""Saved result of a refined layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, write


@dataclass(frozen=True)
class RefinedBlock:
    """The trained tensors of one layer, saved so that a stopped refinement can resume."""

    fingerprint: str
    """Hash of everything that the tensors depend on."""
    curve: dict[str, Any]
    """The loss curve: a `rankwise.records.refine.Curve` as JSON."""
    tensors: dict[str, Tensor]
    """Name inside the layer → float32."""

    def save(self, path: Path) -> None:
        """Write the tensors, with the other fields as metadata."""
        write(
            path,
            "refined@1",
            self.tensors,
            {"fingerprint": self.fingerprint, "curve": self.curve},
        )

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "RefinedBlock":
        """Read one layer."""
        tensors, head = read(path, "refined@1")
        return cls(head["fingerprint"], head["curve"], tensors)
