"""What the forward pass gathers: moments of every site's input, on the smaller side of each matrix."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.store import read, refuse_malformed, tensors_on, write
from rankwise.errors import RankwiseError
from rankwise.linalg import factorisations
from rankwise.linalg.packed import Symmetric, Triangle, add_packed, is_finite, whole

SCHEMA = "covariance@4"
VARIES = 1e-6
"""Least share of the inputs' power that differs inside pools, for anything to be known of them [-]."""


@dataclass(frozen=True)
class InputStatistics:
    """Moments of the inputs x [d] of one site, as sums, so that parts merge exactly by addition."""

    second: Symmetric
    """[d, d] float64: sum of x xᵀ over all tokens; its diagonal alone, a tensor [d], where no more was gathered."""
    pool_means: Tensor
    """[pools, d] float64: mean of x inside each pool of calibration sequences."""
    pool_tokens: Tensor
    """[pools] int64: tokens in each pool; an expert sees more of one than of another [tokens]."""
    absolute: Tensor
    """[d] float64: sum of |x| over all tokens."""
    gradient: OutputGradient | None = None
    """At the output of the linear to be factored, for methods that ask for it; no part of the sums."""
    outputs: Symmetric | None = None
    """[out, out] float64: sum of y yᵀ, y = W x of the linear to be factored, where it stands for ``second``."""
    whitenings: dict[tuple[float, bool], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What `whitening` has found; the linears of a site share it."""

    @property
    def tokens(self) -> int:
        """Tokens counted [tokens]."""
        return int(self.pool_tokens.sum())

    @property
    def mean(self) -> Tensor:
        """[d]: mean over all tokens."""
        return self._weighted(self.pool_means) / self.tokens

    @property
    def mean_absolute(self) -> Tensor:
        """[d]: E[|x|]."""
        return self.absolute / self.tokens

    @property
    def mean_square(self) -> Tensor:
        """[d]: E[x²]."""
        alone = self.squares
        return (self.second.diagonal() if alone is None else alone) / self.tokens

    @property
    def second_moment(self) -> Tensor:
        """[d, d]: E[x xᵀ], uncentred."""
        return self._whole() / self.tokens

    @property
    def covariance(self) -> Tensor:
        """[d, d]: sample covariance inside pools, over all of them.

        For equal pools that is the mean of the pools' sample covariances (Bolaco, eq. 6).
        """
        return self._centred(self._whole(), self.pool_means)

    @property
    def finite(self) -> bool:
        """Whether every sum is a number, those at the output among them."""
        sums: list[Symmetric] = [self.second, self.pool_means, self.absolute]
        if self.outputs is not None:
            sums.append(self.outputs)
        felt = self.gradient is None or self.gradient.finite
        return felt and all(map(is_finite, sums))

    @property
    def varies(self) -> bool:
        """Whether the inputs differ inside pools by more than the rounding of float32 products.

        Those of an expert need not: it may see no token at all, or the same one in every sequence.
        """
        power = self.mean_square.sum() * self.tokens
        steady = self._weighted(self.pool_means.square()).sum()
        return bool(power - steady > VARIES * power)

    def moment(self, *, centred: bool) -> Tensor:
        """[d, d]: the covariance inside pools where ``centred``, else the second moment."""
        return self.covariance if centred else self.second_moment

    def output_moment(self, weight: Tensor, damping: float, *, centred: bool) -> Tensor:
        """Return the second moment of y = W x [out, out], or its pooled covariance where ``centred``.

        ``weight`` [out, in]. ``damping``, relative to the mean diagonal of x's moment, is added to that.
        From the inputs' sums, or from those of y itself: the same but for rounding.
        """
        if self.outputs is None:
            moment = factorisations.damp(self.moment(centred=centred), damping)
            return factorisations.symmetric_product(weight @ moment, weight.T)
        powers = self.mean_square
        second = whole(self.outputs)
        moment = second / self.tokens
        if centred:
            moment = self._centred(second, self.pool_means @ weight.T)
            within = self.tokens * powers - self._weighted(self.pool_means.square())
            powers = within / self._freedom
        added = factorisations.symmetric_product(weight, weight.T)
        return (moment + moment.T) / 2 + damping * powers.mean() * added

    def whitening(self, damping: float, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Return `factorisations.whitening` of the damped second moment, or covariance, of x [d, d].

        Found once and kept: the other linears of the site ask for the same.
        """
        key = damping, centred
        if key not in self.whitenings:
            moment = factorisations.damp(self.moment(centred=centred), damping)
            self.whitenings[key] = factorisations.whitening_root(moment)
        return self.whitenings[key]

    def merge(self, other: "InputStatistics") -> "InputStatistics":
        """Return the statistics of both samples together, exactly: pools stay pools, sums add.

        The large sum is this one's, changed in place, unless files hold both.
        """
        means = torch.cat([self.pool_means, other.pool_means])
        tokens = torch.cat([self.pool_tokens, other.pool_tokens])
        return InputStatistics(
            add_packed(self.second, other.second), means, tokens, self.absolute + other.absolute
        )

    def to(self, device: torch.device) -> "InputStatistics":
        """Return the same statistics on another device."""
        return replace(self, **tensors_on(self, device), whitenings={})

    def _whole(self) -> Tensor:
        """Return ``second`` [d, d]; raises RankwiseError where only its diagonal was gathered."""
        if self.squares is not None:
            raise RankwiseError(
                f"of {len(self.second)} inputs the statistics hold the mean squares alone, their second moments are needed; "
                "set covariance.moments to inputs, or let the method declare what it needs (Decomposer.moments)"
            )
        return whole(self.second)

    @property
    def squares(self) -> Tensor | None:
        """The diagonal [d] where of the second moments no more was gathered, else None."""
        held = self.second
        return held if isinstance(held, Tensor) and held.ndim == 1 else None

    def _centred(self, second: Tensor, means: Tensor) -> Tensor:
        """Return the covariance inside pools from sums of products [d, d] and the pools' means [pools, d]."""
        return (second - self.pool_tokens * means.T @ means) / self._freedom

    def _weighted(self, pools: Tensor) -> Tensor:
        """Return the sum over pools of [pools, d], each as often as it has tokens."""
        return self.pool_tokens.to(pools) @ pools

    @property
    def _freedom(self) -> Tensor:
        """Tokens less one a pool; one where there are none, of which there is nothing to divide."""
        return (self.pool_tokens - 1).clamp_min(0).sum().clamp_min(1)


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics of a group of consecutive layers: of every site's input, of what sublayers change."""

    layers: list[int]
    sites: dict[tuple[int, str], InputStatistics]
    """(layer, site) → statistics."""
    cosines: dict[tuple[int, str], float] = field(default_factory=dict)
    """(layer, sublayer) → sum over all tokens of the cosine between the hidden state before and behind [-]."""
    outputs: dict[str, Symmetric] = field(default_factory=dict)
    """Module name → [out, out] float64: sum of y yᵀ, for linears whose outputs were the smaller side."""

    @property
    def similarity(self) -> dict[tuple[int, str], float]:
        """(layer, sublayer) → mean cosine between the hidden state before it and behind it [-]."""
        tokens: dict[int, int] = {}
        for (layer, _), stats in self.sites.items():  # experts see fewer than the rest of a layer
            tokens[layer] = max(tokens.get(layer, 0), stats.tokens)
        return {key: total / tokens[key[0]] for key, total in self.cosines.items()}

    def add(self, other: "GroupStatistics") -> None:
        """Take up those of further pools, site by site, so that no more than one is held twice.

        In float64 the order matters for the last bits: pools are taken up in their order.
        """
        for key, more in other.sites.items():
            self.sites[key] = self.sites[key].merge(more)
        for key, total in other.cosines.items():
            self.cosines[key] += total
        for name, second in other.outputs.items():
            self.outputs[name] = add_packed(self.outputs[name], second)

    def save(self, path: Path) -> None:
        """Write every sum in float64, of a symmetric matrix one triangle; from wherever they are."""
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
            layer, place = owner.split(".")
            if quantity in ("second", "squares"):
                sites[int(layer), place] = InputStatistics(
                    Triangle(tensor) if quantity == "second" else tensor,
                    tensors[f"{owner}.pool_means"],
                    tensors[f"{owner}.pool_tokens"],
                    tensors[f"{owner}.absolute"],
                )
            elif quantity == "cosines":
                cosines[int(layer), place] = float(tensor)
        return cls(head["layers"], sites, cosines, outputs)
