"""The tensor artifacts, typed; this is the only file that knows how they are stored.

All are safetensors files with one metadata entry, ``rankwise``: JSON with the schema's name and what
is no tensor. (One entry, because safetensors does not keep the order of several, and equal artifacts
must have equal bytes.)
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.files import replacing


@dataclass(frozen=True)
class Tokens:
    """Windows of tokens for one role."""

    ids: Tensor
    """[sequences, length] int32."""
    starts: Tensor
    """[sequences] int64: offset of each window in its corpus's token stream [tokens]."""
    role: str
    corpus: str
    corpus_sha256: str
    seed: int

    def save(self, path: Path) -> None:
        """Write ids and starts; the rest is metadata."""
        head = {
            "role": self.role,
            "corpus": self.corpus,
            "corpus_sha256": self.corpus_sha256,
            "seed": self.seed,
        }
        _save(path, "tokens@1", {"ids": self.ids, "starts": self.starts}, head)

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read windows of tokens."""
        tensors, head = _load(path, "tokens@1")
        return cls(tensors["ids"], tensors["starts"], **head)


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
        _save(path, "curvature@1", tensors, {"layers": self.layers, "linears": facts})

    @classmethod
    def load(cls, path: Path) -> "BlockCurvature":
        """Read the gradients of one block of layers."""
        tensors, head = _load(path, "curvature@1")
        linears = {
            name: OutputGradient(tensors[f"{name}.second"], **facts)
            for name, facts in head["linears"].items()
        }
        return cls(head["layers"], linears)


@dataclass(frozen=True)
class RefinedBlock:
    """The trained tensors of one decoder block, kept so that a refinement goes on where it stopped."""

    fingerprint: str
    """Hash of everything that they depend on."""
    curve: dict[str, Any]
    """Its loss curve, a `records.Curve` as JSON."""
    tensors: dict[str, Tensor]
    """Name inside the block → float32."""

    def save(self, path: Path) -> None:
        """Write the tensors; the rest is metadata."""
        _save(
            path,
            "refined@1",
            self.tensors,
            {"fingerprint": self.fingerprint, "curve": self.curve},
        )

    @classmethod
    def load(cls, path: Path) -> "RefinedBlock":
        """Read one block."""
        tensors, head = _load(path, "refined@1")
        return cls(head["fingerprint"], head["curve"], tensors)


@dataclass(frozen=True)
class InputStatistics:
    """Moments of the inputs x [d] of one site, as sums, so that parts merge exactly by addition."""

    second: Tensor
    """[d, d] float64: sum of x xᵀ over all tokens."""
    pool_means: Tensor
    """[pools, d] float64: mean of x inside each pool of calibration sequences."""
    pool_tokens: int
    """Tokens in each pool; all pools have the same [tokens]."""
    absolute: Tensor
    """[d] float64: sum of |x| over all tokens."""
    gradient: OutputGradient | None = None
    """At the output of the linear to be factored, for methods that ask for it; no part of the sums."""

    @property
    def tokens(self) -> int:
        """Tokens counted [tokens]."""
        return self.pool_tokens * len(self.pool_means)

    @property
    def mean(self) -> Tensor:
        """[d]: mean of the pools' means; pools being equal, also the mean over all tokens."""
        return self.pool_means.mean(0)

    @property
    def mean_absolute(self) -> Tensor:
        """[d]: E[|x|]."""
        return self.absolute / self.tokens

    @property
    def second_moment(self) -> Tensor:
        """[d, d]: E[x xᵀ], uncentred."""
        return self.second / self.tokens

    @property
    def covariance(self) -> Tensor:
        """[d, d]: mean over pools of the sample covariance inside the pool (Bolaco, eq. 6)."""
        pools = len(self.pool_means)
        within = self.second - self.pool_tokens * self.pool_means.T @ self.pool_means
        return within / (pools * (self.pool_tokens - 1))

    def merge(self, other: "InputStatistics") -> "InputStatistics":
        """Return the statistics of both samples together, exactly: pools stay pools, sums add."""
        if self.pool_tokens != other.pool_tokens:
            raise RankwiseError(
                f"statistics over pools of {self.pool_tokens} and of {other.pool_tokens} tokens do not merge; "
                "gather both with the same covariance.pools per sequence"
            )
        means = torch.cat([self.pool_means, other.pool_means])
        return InputStatistics(
            self.second + other.second, means, self.pool_tokens, self.absolute + other.absolute
        )

    def to(self, device: torch.device) -> "InputStatistics":
        """Return the same statistics on another device."""
        tensors: dict[str, Any] = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of a block of consecutive layers: of every site's input, of what sublayers change."""

    layers: list[int]
    sites: dict[tuple[int, str], InputStatistics]
    """(layer, site) → statistics."""
    cosines: dict[tuple[int, str], float] = field(default_factory=dict)
    """(layer, sublayer) → sum over all tokens of the cosine between the hidden state before and behind [-]."""

    @property
    def similarity(self) -> dict[tuple[int, str], float]:
        """(layer, sublayer) → mean cosine between the hidden state before it and behind it [-]."""
        tokens = {layer: stats.tokens for (layer, _), stats in self.sites.items()}
        return {key: total / tokens[key[0]] for key, total in self.cosines.items()}

    def save(self, path: Path) -> None:
        """Write every sum in float64."""
        tensors = {}
        for (layer, site), stats in self.sites.items():
            tensors[f"{layer}.{site}.second"] = stats.second
            tensors[f"{layer}.{site}.pool_means"] = stats.pool_means
            tensors[f"{layer}.{site}.absolute"] = stats.absolute
        for (layer, sublayer), total in self.cosines.items():
            tensors[f"{layer}.{sublayer}.cosines"] = torch.tensor(total, dtype=torch.float64)
        pool_tokens = {stats.pool_tokens for stats in self.sites.values()}
        _save(
            path, "covariance@2", tensors, {"layers": self.layers, "pool_tokens": pool_tokens.pop()}
        )

    @classmethod
    def load(cls, path: Path) -> "BlockStatistics":
        """Read the statistics of one block of layers."""
        tensors, head = _load(path, "covariance@2")
        sites, cosines = {}, {}
        for key in tensors:
            layer, place, quantity = key.split(".")
            if quantity == "second":
                sites[int(layer), place] = InputStatistics(
                    tensors[key],
                    tensors[f"{layer}.{place}.pool_means"],
                    head["pool_tokens"],
                    tensors[f"{layer}.{place}.absolute"],
                )
            elif quantity == "cosines":
                cosines[int(layer), place] = float(tensors[key])
        return cls(head["layers"], sites, cosines)


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
    """[min(out, in)] float64, descending: squared, what dropping a component costs in the method's measure."""
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
        sparse = self.sparse and replace(self.sparse, **_moved(self.sparse, device))
        return replace(self, **_moved(self, device), sparse=sparse)

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
        _save(
            path,
            "factors@2",
            tensors,
            {"method": self.method, "layers": self.layers, "notes": notes},
        )

    @classmethod
    def load(cls, path: Path) -> "BlockFactors":
        """Read one block's factors (memory-mapped)."""
        tensors, head = _load(path, "factors@2")
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


def _moved(holder: Any, device: torch.device) -> dict[str, Any]:
    """Return the tensors among an object's fields on ``device``."""
    return {k: v.to(device) for k, v in vars(holder).items() if isinstance(v, Tensor)}


def _sparse_part(tensors: dict[str, Tensor], name: str) -> SparsePart | None:
    """Return the sparse part of one linear of a file, None where it has none."""
    if f"{name}.sparse.places" not in tensors:
        return None
    parts = ("places", "values", "magnitudes", "counts")
    return SparsePart(*(tensors[f"{name}.sparse.{part}"] for part in parts))


def _save(path: Path, schema: str, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    head = {"schema": f"rankwise/{schema}", **head}
    contiguous = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, {"rankwise": json.dumps(head, sort_keys=True)})


def _load(path: Path, schema: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as stream:
            head = json.loads((stream.metadata() or {}).get("rankwise", "{}"))
            found = head.pop("schema", None)
            if found != f"rankwise/{schema}":
                raise RankwiseError(
                    f"{path}: expected schema rankwise/{schema}, found {found}; run the stage that makes it"
                )
            return {name: stream.get_tensor(name) for name in stream.keys()}, head  # noqa: SIM118
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; run the stage that makes it") from error
    except SafetensorError as error:
        raise RankwiseError(
            f"{path} is not a whole safetensors file ({error}); delete it and run its stage again"
        ) from error
