"""Results of the Fisher pass: second moments of the loss's gradient at every linear's output."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, write
from rankwise.linalg import factorisations, symmetric
from rankwise.linalg.packed import Symmetric, Triangle, is_finite, tensors_on, whole


@dataclass(frozen=True)
class OutputGradient:
    """Second moments of the loss's gradient g [out] at one linear's output, as sums over tokens."""

    second: Symmetric
    """float64: Σ g gᵀ [out, out], or Σ (Wᵀg)(Wᵀg)ᵀ [in, in] where that is smaller."""
    side: str
    """'out' or 'in': which of the two ``second`` is."""
    squares: Tensor
    """[out] float64: Σ g² of every output."""
    tokens: int
    """Predictions in the sums [tokens]."""

    @property
    def second_moment(self) -> Tensor:
        """E[g gᵀ] [out, out] or Wᵀ E[g gᵀ] W [in, in]."""
        return whole(self.second) / self.tokens

    @property
    def mean_square(self) -> float:
        """Mean of E[g gᵀ]'s diagonal."""
        return float(self.squares.mean()) / self.tokens

    def output_metric(self, damping: float) -> Tensor:
        """Return the damped E[g gᵀ] [out, out], or only its diagonal [out] where the sums are on the input side.

        ``damping`` is relative to the mean diagonal.
        """
        if self.side == "out":
            return factorisations.damp(self.second_moment, damping)
        return self.squares / self.tokens + damping * self.mean_square

    @property
    def finite(self) -> bool:
        """Whether every sum is finite."""
        return is_finite(self.second) and symmetric.is_finite(self.squares)

    def to(self, device: torch.device) -> "OutputGradient":
        """Return the same sums on another device."""
        return replace(self, **tensors_on(self, device))


@dataclass(frozen=True)
class GroupFisher:
    """Output gradients of every linear of a layer group."""

    layers: list[int]
    linears: dict[str, OutputGradient]
    """Module name in the model → gradient."""

    def save(self, path: Path) -> None:
        """Write the sums in float64; of a symmetric matrix only one triangle."""
        tensors: dict[str, Tensor] = {}
        facts = {}
        for name, gradient in self.linears.items():
            second = Triangle.of(gradient.second).values
            tensors |= {f"{name}.second": second, f"{name}.squares": gradient.squares}
            facts[name] = {"side": gradient.side, "tokens": gradient.tokens}
        write(path, "fisher@3", tensors, {"layers": self.layers, "linears": facts})

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "GroupFisher":
        """Read the gradients of one layer group."""
        tensors, head = read(path, "fisher@3")
        linears = {
            name: OutputGradient(
                second=Triangle(tensors[f"{name}.second"]),
                squares=tensors[f"{name}.squares"],
                **facts,
            )
            for name, facts in head["linears"].items()
        }
        return cls(head["layers"], linears)
