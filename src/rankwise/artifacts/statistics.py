"""Results of the covariance pass: moments of every site's input, or of its outputs where they are smaller."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.store import read, refuse_malformed, write
from rankwise.errors import RankwiseError
from rankwise.linalg import factorisations, symmetric
from rankwise.linalg.packed import Symmetric, Triangle, add_packed, is_finite, tensors_on, whole

SCHEMA = "covariance@4"
VARIES = 1e-6
"""Least share of the inputs' power that must vary inside pools for useful statistics [-]."""


@dataclass(frozen=True)
class InputStatistics:
    """Moments of the inputs x [d] of one site, as sums, so that parts merge exactly by addition."""

    second: Symmetric
    """[d, d] float64: sum of x xᵀ over all tokens; only its diagonal, a tensor [d], where the pass gathered no more."""
    pool_means: Tensor
    """[pools, d] float64: mean of x inside each pool of calibration sequences."""
    pool_tokens: Tensor
    """[pools] int64: tokens in each pool; for an expert they differ between pools [tokens]."""
    absolute: Tensor
    """[d] float64: sum of |x| over all tokens."""
    gradient: OutputGradient | None = None
    """Gradient at the output of the linear to be factored, for methods that need it; not one of the site's sums."""
    outputs: Symmetric | None = None
    """[out, out] float64: sum of y yᵀ, y = W x of the linear to be factored, where the pass gathered it instead of ``second``."""
    whitenings: dict[tuple[float, bool], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Cache of `whitening`, which the linears of a site share."""

    @property
    def tokens(self) -> int:
        """Tokens in the sums [tokens]."""
        return int(self.pool_tokens.sum())

    @property
    def mean(self) -> Tensor:
        """[d]: mean over all tokens."""
        return self._sum_over_tokens(self.pool_means) / self.tokens

    @property
    def mean_absolute(self) -> Tensor:
        """[d]: E[|x|]."""
        return self.absolute / self.tokens

    @property
    def mean_square(self) -> Tensor:
        """[d]: E[x²]."""
        diagonal = self.squares
        return (self.second.diagonal() if diagonal is None else diagonal) / self.tokens

    @property
    def second_moment(self) -> Tensor:
        """[d, d]: E[x xᵀ], uncentred."""
        return self._full_second() / self.tokens

    @property
    def covariance(self) -> Tensor:
        """[d, d]: sample covariance inside pools, over all pools.

        For equal pools it is the mean of the pools' sample covariances (Bolaco, eq. 6).
        """
        return self._centre(self._full_second(), self.pool_means)

    @property
    def finite(self) -> bool:
        """Whether every sum is finite, including those at the output."""
        sums: list[Symmetric] = [self.second, self.pool_means, self.absolute]
        if self.outputs is not None:
            sums.append(self.outputs)
        gradient_finite = self.gradient is None or self.gradient.finite
        return gradient_finite and all(map(is_finite, sums))

    @property
    def varies(self) -> bool:
        """Whether the inputs vary inside pools by more than the rounding of float32 products.

        An expert's inputs may not: it may receive no token at all, or the same one in every sequence.
        """
        power = self.mean_square.sum() * self.tokens
        constant_part = self._sum_over_tokens(self.pool_means.square()).sum()
        return bool(power - constant_part > VARIES * power)

    def moment(self, *, centred: bool) -> Tensor:
        """Return the covariance inside pools [d, d] where ``centred``, else the second moment [d, d]."""
        return self.covariance if centred else self.second_moment

    def output_moment(self, weight: Tensor, damping: float, *, centred: bool) -> Tensor:
        """Return the second moment of y = W x [out, out], or its pooled covariance where ``centred``.

        ``weight`` [out, in]. ``damping`` is relative to the mean diagonal of x's moment, to which it is added.
        The result comes from the inputs' sums or from those of y; both are equal up to rounding.
        """
        if self.outputs is None:
            moment = factorisations.damp(self.moment(centred=centred), damping)
            return symmetric.symmetric_product(weight @ moment, weight.T)
        powers = self.mean_square
        second = whole(self.outputs)
        moment = second / self.tokens
        if centred:
            moment = self._centre(second, self.pool_means @ weight.T)
            within = self.tokens * powers - self._sum_over_tokens(self.pool_means.square())
            powers = within / self._degrees_of_freedom
        weight_product = symmetric.symmetric_product(weight, weight.T)
        return (moment + moment.T) / 2 + damping * powers.mean() * weight_product

    def whitening(self, damping: float, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Return `factorisations.whitening_root` of the damped covariance of x where ``centred``, else of its second moment.

        Computed once and cached, because all linears of the site need the same.
        """
        key = damping, centred
        if key not in self.whitenings:
            moment = factorisations.damp(self.moment(centred=centred), damping)
            self.whitenings[key] = factorisations.whitening_root(moment)
        return self.whitenings[key]

    def merge(self, other: "InputStatistics") -> "InputStatistics":
        """Return the exact statistics of both samples together: pools stay pools, sums add.

        It changes ``second`` of this object in place, unless both are triangles of files.
        """
        means = torch.cat([self.pool_means, other.pool_means])
        tokens = torch.cat([self.pool_tokens, other.pool_tokens])
        return InputStatistics(
            add_packed(self.second, other.second), means, tokens, self.absolute + other.absolute
        )

    def to(self, device: torch.device) -> "InputStatistics":
        """Return the same statistics on another device."""
        return replace(self, **tensors_on(self, device), whitenings={})

    def _full_second(self) -> Tensor:
        """Return ``second`` [d, d]; raises RankwiseError where the pass gathered only its diagonal."""
        if self.squares is not None:
            raise RankwiseError(
                f"of {len(self.second)} inputs the statistics hold the mean squares alone, their second moments are needed; "
                "set covariance.moments to inputs, or let the method declare what it needs (Decomposer.moments)"
            )
        return whole(self.second)

    @property
    def squares(self) -> Tensor | None:
        """The diagonal [d] of ``second`` where the pass gathered no more, else None."""
        second = self.second
        return second if isinstance(second, Tensor) and second.ndim == 1 else None

    def _centre(self, second: Tensor, means: Tensor) -> Tensor:
        """Return the covariance inside pools [d, d], given sums of products [d, d] and the pools' means [pools, d]."""
        return (second - self.pool_tokens * means.T @ means) / self._degrees_of_freedom

    def _sum_over_tokens(self, pools: Tensor) -> Tensor:
        """Return the sum over pools of ``pools`` [pools, d], each times its number of tokens, [d]."""
        return self.pool_tokens.to(pools) @ pools

    @property
    def _degrees_of_freedom(self) -> Tensor:
        """Degrees of freedom: the sum over pools of tokens − 1, at least 1 to avoid a division by zero."""
        return (self.pool_tokens - 1).clamp_min(0).sum().clamp_min(1)


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics of a layer group: of every site's input, and of every sublayer's effect on the hidden state."""

    layers: list[int]
    sites: dict[tuple[int, str], InputStatistics]
    """(layer, site) → statistics."""
    cosines: dict[tuple[int, str], float] = field(default_factory=dict)
    """(layer, sublayer) → sum over all tokens of the cosine between the hidden states before and after it [-]."""
    outputs: dict[str, Symmetric] = field(default_factory=dict)
    """Module name → [out, out] float64: sum of y yᵀ, for linears whose outputs are the smaller side."""

    @property
    def similarity(self) -> dict[tuple[int, str], float]:
        """(layer, sublayer) → mean cosine between the hidden states before and after it [-]."""
        tokens: dict[int, int] = {}
        for (layer, _), stats in self.sites.items():  # experts receive fewer tokens than the layer
            tokens[layer] = max(tokens.get(layer, 0), stats.tokens)
        return {key: total / tokens[key[0]] for key, total in self.cosines.items()}

    def add(self, other: "GroupStatistics") -> None:
        """Add the statistics of more pools, site by site, so that memory holds at most one site twice.

        The order changes the last bits of float64 sums, so callers add pools in their order.
        """
        for key, statistics in other.sites.items():
            self.sites[key] = self.sites[key].merge(statistics)
        for key, total in other.cosines.items():
            self.cosines[key] += total
        for name, second in other.outputs.items():
            self.outputs[name] = add_packed(self.outputs[name], second)

    def save(self, path: Path) -> None:
        """Write every sum in float64, from any device; of a symmetric matrix only one triangle."""
        tensors = {}
        for (layer, site), stats in self.sites.items():
            owner = f"{layer}.{site}"
            if stats.squares is not None:
                tensors[f"{owner}.squares"] = stats.squares
            else:
                tensors[f"{owner}.second"] = Triangle.of(stats.second).values
            tensors[f"{owner}.pool_means"] = stats.pool_means
            tensors[f"{owner}.pool_tokens"] = stats.pool_tokens
            tensors[f"{owner}.absolute"] = stats.absolute
        for (layer, sublayer), total in self.cosines.items():
            tensors[f"{layer}.{sublayer}.cosines"] = torch.tensor(total, dtype=torch.float64)
        for name, second in self.outputs.items():
            tensors[f"{name}.outputs"] = Triangle.of(second).values
        write(path, SCHEMA, tensors, {"layers": self.layers})

    @classmethod
    @refuse_malformed
    def load(cls, path: Path) -> "GroupStatistics":
        """Read the statistics of one layer group."""
        tensors, head = read(path, SCHEMA)
        sites, cosines = {}, {}
        outputs: dict[str, Symmetric] = {}
        for key, tensor in tensors.items():
            owner, _, quantity = key.rpartition(".")
            if quantity == "outputs":
                outputs[owner] = Triangle(tensor)
                continue
            layer, part = owner.split(".")
            if quantity in ("second", "squares"):
                sites[int(layer), part] = InputStatistics(
                    Triangle(tensor) if quantity == "second" else tensor,
                    tensors[f"{owner}.pool_means"],
                    tensors[f"{owner}.pool_tokens"],
                    tensors[f"{owner}.absolute"],
                )
            elif quantity == "cosines":
                cosines[int(layer), part] = float(tensor)
        return cls(head["layers"], sites, cosines, outputs)
