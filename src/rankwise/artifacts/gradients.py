"""What the backward pass gathers: how the loss bends at every linear's output."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rankwise.artifacts.store import read, write


@dataclass(frozen=True)
class OutputGradient:
    """Second moments of the loss's gradient g [out] at one linear's output, as sums over tokens."""

    second: Tensor
    """float64: Σ g gᵀ [out, out], or Σ (Wᵀg)(Wᵀg)ᵀ [in, in] where that is smaller."""
    side: str
    """'out' or 'in': which of the two."""
    energy: float
    """Σ ‖g‖²."""
    tokens: int
    """Predictions whose loss was counted [tokens]."""
    outputs: int
    """out."""

    @property
    def second_moment(self) -> Tensor:
        """E[g gᵀ] [out, out] or Wᵀ E[g gᵀ] W [in, in]."""
        return self.second / self.tokens

    @property
    def mean_square(self) -> float:
        """Mean of E[g gᵀ]'s diagonal."""
        return self.energy / self.tokens / self.outputs


@dataclass(frozen=True)
class BlockCurvature:
    """Output gradients of every linear of a block of consecutive layers."""

    layers: list[int]
    linears: dict[str, OutputGradient]
    """Module name in the model → gradient."""

    def save(self, path: Path) -> None:
        """Write the sums in float64."""
        tensors = {f"{name}.second": found.second for name, found in self.linears.items()}
        facts = {
            name: {key: value for key, value in vars(found).items() if key != "second"}
            for name, found in self.linears.items()
        }
        write(path, "curvature@1", tensors, {"layers": self.layers, "linears": facts})

    @classmethod
    def load(cls, path: Path) -> "BlockCurvature":
        """Read the gradients of one block of layers."""
        tensors, head = read(path, "curvature@1")
        linears = {
            name: OutputGradient(tensors[f"{name}.second"], **facts)
            for name, facts in head["linears"].items()
        }
        return cls(head["layers"], linears)
