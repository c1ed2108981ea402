"""Factored linears, all ranks at once."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.store import read, refuse_malformed, tensors_on, write
from rankwise.budget.costs import Kept
from rankwise.errors import RankwiseError
from rankwise.linalg import factorisations


@dataclass(frozen=True)
class SparsePart:
    """Single entries of a matrix [out, in], the most important first: n entries are the first n.

    ``ladder`` ties them to the ranks of the low-rank part, so that one ladder serves every budget. Some
    methods fit the values anew to how many there are: ``refits`` holds them for some ``levels``.
    """

    places: Tensor
    """[n] int32, or int64 where out·in asks for it: row·in + column."""
    values: Tensor
    """[n]."""
    magnitudes: Tensor
    """[n], descending: squared, what dropping an entry costs in the method's measure."""
    ladder: Tensor
    """[choices, 2] int64, neither column ever falling: rank, and entries that go with it."""
    levels: Tensor | None = None
    """[k] int64, rising: numbers of entries that the values were fitted to."""
    refits: Tensor | None = None
    """[Σ levels]: the values at each level, one after the other; in no more precision than they were fitted in."""

    def choices(self) -> tuple[Kept, ...]:
        """Return the ladder."""
        return tuple(Kept(rank, entries) for rank, entries in self.ladder.tolist())

    def first(self, entries: int) -> "SparsePart":
        """Return the part cut to ``entries``; no choice keeps more (copies, so that the rest is freed)."""
        ladder = self.ladder.clone()
        ladder[:, 1].clamp_(max=entries)
        cut = {name: getattr(self, name)[:entries].clone() for name in ENTRY_WISE}
        part = replace(self, **cut, ladder=ladder)
        if self.levels is None or self.refits is None:
            return part
        levels = self.levels[self.levels <= entries]
        if len(levels) == len(self.levels):  # they may be many times the rest
            return part
        return replace(part, levels=levels, refits=self.refits[: int(levels.sum())].clone())

    def values_of(self, entries: int) -> Tensor:
        """Return the values of the first ``entries``: as fitted to the next level that holds as many."""
        if self.levels is None or self.refits is None:
            return self.values[:entries]
        level = int(torch.searchsorted(self.levels, entries))
        if level == len(self.levels):
            return self.values[:entries]
        begin = int(self.levels[:level].sum())
        return self.refits[begin : begin + entries]

    def dense(self, entries: int, shape: tuple[int, int]) -> Tensor:
        """Return the matrix [out, in] of the first ``entries``, zero elsewhere."""
        values = self.values_of(entries)
        flat = values.new_zeros(shape[0] * shape[1])
        flat[self.places[:entries].long()] = values
        return flat.view(shape)


ENTRY_WISE = ("places", "values", "magnitudes")
"""Tensors with one number an entry."""


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
    """[1 + choices] float64: ‖W‖_F², then ‖W − Ŵ‖_F² at every rank, or at every choice of the ladder."""
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
        sparse = self.sparse and replace(self.sparse, **tensors_on(self.sparse, device))
        return replace(self, **tensors_on(self, device), sparse=sparse)

    def stored(self, dtype: torch.dtype) -> "Factors":
        """Return the factors in the precision of a file; a rank of ``left`` is one slice of memory.

        Magnitudes of sparse entries, which may be many, are stored in float32; spectrum and errors as
        they are.
        """
        tensors = {
            name: tensor.to(dtype)
            for name in ("right", "offset", "codes")
            if (tensor := getattr(self, name)) is not None
        }
        sparse = self.sparse and replace(self.sparse, **_of_sparse_part(self.sparse, dtype))
        left = self.left.T.to(dtype).contiguous().T
        kept = replace(self, left=left, **tensors, sparse=sparse)
        if not kept.finite:
            raise RankwiseError(
                f"factors hold numbers that are too large for {str(dtype).removeprefix('torch.')}; "
                "set prepare.model.dtype to bfloat16 or float32"
            )
        return kept

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        tensors = [self.left, self.right, self.spectrum, self.offset, self.codes]
        if self.sparse is not None:
            tensors += [self.sparse.values, self.sparse.magnitudes, self.sparse.refits]
        return all(factorisations.is_finite(tensor) for tensor in tensors if tensor is not None)

    def bias(self, rank: int, gates: Tensor | None = None) -> Tensor | None:
        """[out]: the bias that goes with the first ``rank`` components, or those of them that ``gates`` [rank] lets pass."""
        if self.offset is None or self.codes is None:
            return self.offset
        codes = self.codes[:rank] if gates is None else self.codes[:rank] * gates
        return self.offset - self.left[:, :rank] @ codes


@dataclass(frozen=True)
class GroupFactors:
    """Factors of every linear of a layer group that its method does not leave dense."""

    method: str
    layers: list[int]
    linears: dict[str, Factors]
    """Module name in the model → factors."""

    def save(self, path: Path, dtype: torch.dtype) -> None:
        """Write factors in ``dtype``, ``left`` transposed, as in memory (`Factors.stored`)."""
        tensors: dict[str, Tensor] = {}
        for name, factors in self.linears.items():
            kept = factors.stored(dtype)
            tensors[f"{name}.left"] = kept.left.T
            for part in ("right", "spectrum", "offset", "codes", "weight_errors"):
                if (tensor := getattr(kept, part)) is not None:
                    tensors[f"{name}.{part}"] = tensor
            for part, tensor in _tensors(kept.sparse).items():
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
        """Read one group's factors (memory-mapped)."""
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
    """Return the head of a group's factors, every linear's spectrum, and what all its sparse entries weigh.

    The rest of the file, nearly all of it, is not read.
    """
    tensors, head = read(path, "factors@3", (".spectrum", ".sparse.magnitudes"))
    entries = {
        name: float(tensors[f"{name}.sparse.magnitudes"].double().square().sum())
        if f"{name}.sparse.magnitudes" in tensors
        else 0.0
        for name in head["notes"]
    }
    return head, {name: tensors[f"{name}.spectrum"] for name in head["notes"]}, entries


def _of_sparse_part(sparse: SparsePart, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a sparse part by name, in the precision that they are stored in."""
    stored = {"values": dtype, "refits": dtype, "magnitudes": torch.float32}
    return {n: t.to(stored[n]) if n in stored else t for n, t in _tensors(sparse).items()}


def _tensors(sparse: SparsePart | None) -> dict[str, Tensor]:
    """Return the tensors that there are of a sparse part by name."""
    parts = {} if sparse is None else vars(sparse)
    return {name: tensor for name, tensor in parts.items() if tensor is not None}


def _sparse_part(tensors: dict[str, Tensor], name: str) -> SparsePart | None:
    """Return the sparse part of one linear of a file, None where it has none."""
    prefix = f"{name}.sparse."
    found = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    return SparsePart(**found) if found else None
