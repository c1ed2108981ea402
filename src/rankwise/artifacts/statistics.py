"""What the forward pass gathers: moments of every site's input."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.store import read, write

VARIES = 1e-6
"""Least share of the inputs' power that differs inside pools, for anything to be known of them [-]."""


@dataclass(frozen=True)
class InputStatistics:
    """Moments of the inputs x [d] of one site, as sums, so that parts merge exactly by addition."""

    second: Tensor
    """[d, d] float64: sum of x xᵀ over all tokens."""
    pool_means: Tensor
    """[pools, d] float64: mean of x inside each pool of calibration sequences."""
    pool_tokens: Tensor
    """[pools] int64: tokens in each pool; an expert sees more of one than of another [tokens]."""
    absolute: Tensor
    """[d] float64: sum of |x| over all tokens."""
    gradient: OutputGradient | None = None
    """At the output of the linear to be factored, for methods that ask for it; no part of the sums."""

    @property
    def tokens(self) -> int:
        """Tokens counted [tokens]."""
        return int(self.pool_tokens.sum())

    @property
    def mean(self) -> Tensor:
        """[d]: mean over all tokens."""
        return self.pool_tokens.to(self.pool_means) @ self.pool_means / self.tokens

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
        """[d, d]: sample covariance inside pools, over all of them.

        For equal pools that is the mean of the pools' sample covariances (Bolaco, eq. 6).
        """
        within = self.second - self.pool_tokens * self.pool_means.T @ self.pool_means
        freedom = (self.pool_tokens - 1).clamp_min(0).sum()
        return within / freedom.clamp_min(1)

    @property
    def varies(self) -> bool:
        """Whether the inputs differ inside pools by more than the rounding of float32 products.

        Those of an expert need not: it may see no token at all, or the same one in every sequence.
        """
        power = self.second.diagonal().sum()
        steady = self.pool_tokens.to(power) @ self.pool_means.square().sum(1)
        return bool(power - steady > VARIES * power)

    def merge(self, other: "InputStatistics") -> "InputStatistics":
        """Return the statistics of both samples together, exactly: pools stay pools, sums add."""
        means = torch.cat([self.pool_means, other.pool_means])
        tokens = torch.cat([self.pool_tokens, other.pool_tokens])
        return InputStatistics(
            self.second + other.second, means, tokens, self.absolute + other.absolute
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
        tokens: dict[int, int] = {}
        for (layer, _), stats in self.sites.items():  # experts see fewer than the rest of a layer
            tokens[layer] = max(tokens.get(layer, 0), stats.tokens)
        return {key: total / tokens[key[0]] for key, total in self.cosines.items()}

    def save(self, path: Path) -> None:
        """Write every sum in float64."""
        tensors = {}
        for (layer, site), stats in self.sites.items():
            tensors[f"{layer}.{site}.second"] = stats.second
            tensors[f"{layer}.{site}.pool_means"] = stats.pool_means
            tensors[f"{layer}.{site}.pool_tokens"] = stats.pool_tokens
            tensors[f"{layer}.{site}.absolute"] = stats.absolute
        for (layer, sublayer), total in self.cosines.items():
            tensors[f"{layer}.{sublayer}.cosines"] = torch.tensor(total, dtype=torch.float64)
        write(path, "covariance@3", tensors, {"layers": self.layers})

    @classmethod
    def load(cls, path: Path) -> "BlockStatistics":
        """Read the statistics of one block of layers."""
        tensors, head = read(path, "covariance@3")
        sites, cosines = {}, {}
        for key in tensors:
            layer, place, quantity = key.split(".")
            if quantity == "second":
                sites[int(layer), place] = InputStatistics(
                    tensors[key],
                    tensors[f"{layer}.{place}.pool_means"],
                    tensors[f"{layer}.{place}.pool_tokens"],
                    tensors[f"{layer}.{place}.absolute"],
                )
            elif quantity == "cosines":
                cosines[int(layer), place] = float(tensors[key])
        return cls(head["layers"], sites, cosines)
