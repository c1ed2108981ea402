"""What a refinement keeps of a finished block."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, write


@dataclass(frozen=True)
class RefinedBlock:
    """The trained tensors of one decoder layer, kept so that a refinement goes on where it stopped."""

    fingerprint: str
    """Hash of everything that they depend on."""
    curve: dict[str, Any]
    """Its loss curve, a `records.Curve` as JSON."""
    tensors: dict[str, Tensor]
    """Name inside the block → float32."""

    def save(self, path: Path) -> None:
        """Write the tensors; the rest is metadata."""
        write(
            path,
            "refined@1",
            self.tensors,
            {"fingerprint": self.fingerprint, "curve": self.curve},
        )

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "RefinedBlock":
        """Read one block."""
        tensors, head = read(path, "refined@1")
        return cls(head["fingerprint"], head["curve"], tensors)
