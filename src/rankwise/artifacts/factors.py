"""Factored linears, for all ranks at once, with their sparse parts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, write
from rankwise.budget.costs import Kept
from rankwise.errors import RankwiseError
from rankwise.linalg import symmetric
from rankwise.linalg.packed import tensors_on


@dataclass(frozen=True)
class SparsePart:
    """The nonzeros of a sparse matrix [out, in], the most important first: a part with k nonzeros is the first k.

    ``ladder`` is the schedule of (rank, nonzeros): it ties them to the ranks of the low-rank part, so that
    one schedule serves every budget. Some methods fit the values again for each number of nonzeros:
    ``refits`` holds these values at some ``levels``.
    """

    places: Tensor
    """[n] indices row·in + column; int32, or int64 where out·in exceeds int32."""
    values: Tensor
    """[n]."""
    magnitudes: Tensor
    """[n], descending: the square is the cost of dropping a nonzero, in the method's measure."""
    ladder: Tensor
    """[choices, 2] int64, both columns non-decreasing: rank, and the number of nonzeros at that rank."""
    levels: Tensor | None = None
    """[k] int64, rising: numbers of nonzeros that the values were fitted to."""
    refits: Tensor | None = None
    """[Σ levels]: the values at each level, one after the other; at most in the precision of the fit."""

    def choices(self) -> tuple[Kept, ...]:
        """Return the schedule as choices."""
        return tuple(Kept(rank, nonzeros) for rank, nonzeros in self.ladder.tolist())

    def first(self, nonzeros: int) -> "SparsePart":
        """Return the first ``nonzeros``, and a schedule that has at most as many (copies, so that the rest is freed)."""
        schedule = self.ladder.clone()
        schedule[:, 1].clamp_(max=nonzeros)
        cut = {name: getattr(self, name)[:nonzeros].clone() for name in PER_NONZERO}
        first = replace(self, **cut, ladder=schedule)
        if self.levels is None or self.refits is None:
            return first
        levels = self.levels[self.levels <= nonzeros]
        if len(levels) == len(
            self.levels
        ):  # do not copy refits: they may be many times as large as the rest
            return first
        return replace(first, levels=levels, refits=self.refits[: int(levels.sum())].clone())

    def values_of(self, nonzeros: int) -> Tensor:
        """Return the values of the first ``nonzeros``: those fitted at the lowest level that has as many."""
        if self.levels is None or self.refits is None:
            return self.values[:nonzeros]
        level = int(torch.searchsorted(self.levels, nonzeros))
        if level == len(self.levels):
            return self.values[:nonzeros]
        begin = int(self.levels[:level].sum())
        return self.refits[begin : begin + nonzeros]

    def dense(self, nonzeros: int, shape: tuple[int, int]) -> Tensor:
        """Return the matrix [out, in] of the first ``nonzeros``, zero elsewhere."""
        values = self.values_of(nonzeros)
        flat = values.new_zeros(shape[0] * shape[1])
        flat[self.places[:nonzeros].long()] = values
        return flat.view(shape)


PER_NONZERO = ("places", "values", "magnitudes")
"""Tensors with one number per nonzero."""


@dataclass(frozen=True)
class Factors:
    """One linear in factored form, for all ranks at once: the first r components are rank r.

    ``W ≈ left[:, :r] @ right[:r]``, plus the nonzeros scheduled for r where there is a sparse part. With
    an offset, the bias of rank r is ``offset − left[:, :r] @ codes[:r]``: the part of the mean output
    that the factors do not give.
    """

    left: Tensor
    """[out, R]."""
    right: Tensor
    """[R, in]."""
    spectrum: Tensor
    """[min(out, in)] float64, descending: the square is the cost of dropping a component, in the method's measure; may be empty."""
    offset: Tensor | None = None
    """[out]: mean output, including the dense linear's bias."""
    codes: Tensor | None = None
    """[R]: right @ mean input."""
    weight_errors: Tensor | None = None
    """[1 + choices] float64: ‖W‖_F², then ‖W − Ŵ‖_F² at every rank, or at every choice of the schedule."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Facts of the factorisation: damping, iterations, anything unusual."""
    sparse: SparsePart | None = None
    """The sparse part, which adds to the low-rank part."""

    @property
    def max_rank(self) -> int:
        """Largest rank of the factors."""
        return self.right.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in]."""
        return self.left.shape[0], self.right.shape[1]

    def to(self, device: torch.device) -> "Factors":
        """Return the same factors on another device (no copies where they are there already)."""
        sparse = self.sparse and replace(self.sparse, **tensors_on(self.sparse, device))
        return replace(self, **tensors_on(self, device), sparse=sparse)

    def stored(self, dtype: torch.dtype) -> "Factors":
        """Return the factors rounded to ``dtype``, as a file holds them; the first ranks of ``left`` are contiguous.

        Magnitudes of nonzeros, which may be many, become float32; spectrum and errors stay as they are.
        Raises RankwiseError where a number is too large for ``dtype``.
        """
        tensors = {
            name: tensor.to(dtype)
            for name in ("right", "offset", "codes")
            if (tensor := getattr(self, name)) is not None
        }
        sparse = self.sparse and replace(self.sparse, **_round_sparse_part(self.sparse, dtype))
        left = self.left.T.to(dtype).contiguous().T
        rounded = replace(self, left=left, **tensors, sparse=sparse)
        if not rounded.finite:
            raise RankwiseError(
                f"factors hold numbers that are too large for {str(dtype).removeprefix('torch.')}; "
                "set prepare.model.dtype to bfloat16 or float32"
            )
        return rounded

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        tensors = [self.left, self.right, self.spectrum, self.offset, self.codes]
        if self.sparse is not None:
            tensors += [self.sparse.values, self.sparse.magnitudes, self.sparse.refits]
        return all(symmetric.is_finite(tensor) for tensor in tensors if tensor is not None)

    def bias(self, rank: int, gates: Tensor | None = None) -> Tensor | None:
        """Return the bias [out] for the first ``rank`` components, each multiplied by its gate of ``gates`` [rank]."""
        if self.offset is None or self.codes is None:
            return self.offset
        codes = self.codes[:rank] if gates is None else self.codes[:rank] * gates
        return self.offset - self.left[:, :rank] @ codes


@dataclass(frozen=True)
class GroupFactors:
    """Factors of every linear of a layer group that the method does not leave dense."""

    method: str
    layers: list[int]
    linears: dict[str, Factors]
    """Module name in the model → factors."""

    def save(self, path: Path, dtype: torch.dtype) -> None:
        """Write the factors in ``dtype`` (`Factors.stored`), ``left`` transposed."""
        tensors: dict[str, Tensor] = {}
        for name, factors in self.linears.items():
            stored = factors.stored(dtype)
            tensors[f"{name}.left"] = stored.left.T
            for part in ("right", "spectrum", "offset", "codes", "weight_errors"):
                if (tensor := getattr(stored, part)) is not None:
                    tensors[f"{name}.{part}"] = tensor
            for part, tensor in _sparse_tensors(stored.sparse).items():
                tensors[f"{name}.sparse.{part}"] = tensor
        notes = {name: factors.notes for name, factors in self.linears.items()}
        write(
            path,
            "factors@3",
            tensors,
            {"method": self.method, "layers": self.layers, "notes": notes},
        )

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "GroupFactors":
        """Read the factors of one layer group (memory-mapped)."""
        tensors, head = read(path, "factors@3")
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


@refuse_malformed
def read_spectra(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, float]]:
    """Return the head of a file of factors, and per linear the spectrum and the squared sum of its magnitudes.

    The sum is 0 without a sparse part. The function does not read the rest of the file, nearly all of it.
    """
    tensors, head = read(path, "factors@3", (".spectrum", ".sparse.magnitudes"))
    sparse_sizes = {
        name: float(tensors[f"{name}.sparse.magnitudes"].double().square().sum())
        if f"{name}.sparse.magnitudes" in tensors
        else 0.0
        for name in head["notes"]
    }
    return head, {name: tensors[f"{name}.spectrum"] for name in head["notes"]}, sparse_sizes


def _round_sparse_part(sparse: SparsePart, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a sparse part by name, in the precision of a file."""
    dtypes = {"values": dtype, "refits": dtype, "magnitudes": torch.float32}
    return {n: t.to(dtypes[n]) if n in dtypes else t for n, t in _sparse_tensors(sparse).items()}


def _sparse_tensors(sparse: SparsePart | None) -> dict[str, Tensor]:
    """Return the tensors of a sparse part by name, without those that are None."""
    parts = {} if sparse is None else vars(sparse)
    return {name: tensor for name, tensor in parts.items() if tensor is not None}


def _sparse_part(tensors: dict[str, Tensor], name: str) -> SparsePart | None:
    """Return the sparse part of one linear from a file's tensors; None where it has none."""
    prefix = f"{name}.sparse."
    parts = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    return SparsePart(**parts) if parts else None
