"""Factored linears, all ranks at once."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.store import moved, read, write


@dataclass(frozen=True)
class SparsePart:
    """Single entries of a matrix [out, in], the most important first: n entries are the first n.

    ``counts`` ties them to the ranks of the low-rank part, so that one ladder of (rank, entries)
    serves every budget.
    """

    places: Tensor
    """[n] int32, or int64 where out·in asks for it: row·in + column."""
    values: Tensor
    """[n]."""
    magnitudes: Tensor
    """[n], descending: squared, what dropping an entry costs in the method's measure."""
    counts: Tensor
    """[R + 1] int64, never falling: entries that go with each rank."""

    def first(self, entries: int) -> "SparsePart":
        """Return the part cut to ``entries``; no rank keeps more (copies, so that the rest is freed)."""
        places, values, magnitudes = (
            tensor[:entries].clone() for tensor in (self.places, self.values, self.magnitudes)
        )
        return SparsePart(places, values, magnitudes, self.counts.clamp_max(entries))

    def dense(self, entries: int, shape: tuple[int, int]) -> Tensor:
        """Return the matrix [out, in] of the first ``entries``, zero elsewhere."""
        flat = self.values.new_zeros(shape[0] * shape[1])
        flat[self.places[:entries].long()] = self.values[:entries]
        return flat.view(shape)


@dataclass(frozen=True)
class Factors:
    """One linear in factored form, all ranks at once: the first r components are rank r.

    ``W ≈ left[:, :r] @ right[:r]``, plus the entries that go with r where there is a sparse part; with
    an offset, the bias of rank r is ``offset − left[:, :r] @ codes[:r]`` (the mean output that the
    factors do not carry).
    """

    left: Tensor
    """[out, R]."""
    right: Tensor
    """[R, in]."""
    spectrum: Tensor
    """[min(out, in)] float64, descending: squared, what dropping a component costs in the method's measure; empty where it has none."""
    offset: Tensor | None = None
    """[out]: mean output, the old bias included."""
    codes: Tensor | None = None
    """[R]: right @ mean input."""
    weight_errors: Tensor | None = None
    """[R + 1] float64: ‖W − left[:, :r] @ right[:r] − its entries‖_F² at every rank r."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Damping used, what was out of the ordinary."""
    sparse: SparsePart | None = None
    """Entries beside the low-rank part."""

    @property
    def max_rank(self) -> int:
        """Largest rank that is stored."""
        return self.right.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in]."""
        return self.left.shape[0], self.right.shape[1]

    def to(self, device: torch.device) -> "Factors":
        """Return the same factors on another device (views where equal)."""
        sparse = self.sparse and replace(self.sparse, **moved(self.sparse, device))
        return replace(self, **moved(self, device), sparse=sparse)

    def bias(self, rank: int, gates: Tensor | None = None) -> Tensor | None:
        """[out]: the bias that goes with the first ``rank`` components, or those of them that ``gates`` [rank] lets pass."""
        if self.offset is None or self.codes is None:
            return self.offset
        codes = self.codes[:rank] if gates is None else self.codes[:rank] * gates
        return self.offset - self.left[:, :rank] @ codes


@dataclass(frozen=True)
class BlockFactors:
    """Factors of every linear of a block of layers that its method does not leave dense."""

    method: str
    layers: list[int]
    linears: dict[str, Factors]
    """Module name in the model → factors."""

    def save(self, path: Path, dtype: torch.dtype) -> None:
        """Write factors in ``dtype``; ``left`` is stored transposed, so that a rank is one slice.

        The magnitudes of sparse entries, which may be many, are stored in float32.
        """
        tensors: dict[str, Tensor] = {}
        for name, factors in self.linears.items():
            tensors[f"{name}.left"] = factors.left.T.to(dtype)
            tensors[f"{name}.right"] = factors.right.to(dtype)
            tensors[f"{name}.spectrum"] = factors.spectrum
            if factors.offset is not None:
                tensors[f"{name}.offset"] = factors.offset.to(dtype)
            if factors.codes is not None:
                tensors[f"{name}.codes"] = factors.codes.to(dtype)
            if factors.weight_errors is not None:
                tensors[f"{name}.weight_errors"] = factors.weight_errors
            if factors.sparse is not None:
                tensors[f"{name}.sparse.places"] = factors.sparse.places
                tensors[f"{name}.sparse.values"] = factors.sparse.values.to(dtype)
                tensors[f"{name}.sparse.magnitudes"] = factors.sparse.magnitudes.float()
                tensors[f"{name}.sparse.counts"] = factors.sparse.counts
        notes = {name: factors.notes for name, factors in self.linears.items()}
        write(
            path,
            "factors@2",
            tensors,
            {"method": self.method, "layers": self.layers, "notes": notes},
        )

    @classmethod
    def load(cls, path: Path) -> "BlockFactors":
        """Read one block's factors (memory-mapped)."""
        tensors, head = read(path, "factors@2")
        linears = {
            name: Factors(
                tensors[f"{name}.left"].T,
                tensors[f"{name}.right"],
                tensors[f"{name}.spectrum"],
                tensors.get(f"{name}.offset"),
                tensors.get(f"{name}.codes"),
                tensors.get(f"{name}.weight_errors"),
                notes,
                _sparse_part(tensors, name),
            )
            for name, notes in head["notes"].items()
        }
        return cls(head["method"], head["layers"], linears)


def _sparse_part(tensors: dict[str, Tensor], name: str) -> SparsePart | None:
    """Return the sparse part of one linear of a file, None where it has none."""
    if f"{name}.sparse.places" not in tensors:
        return None
    parts = ("places", "values", "magnitudes", "counts")
    return SparsePart(*(tensors[f"{name}.sparse.{part}"] for part in parts))
