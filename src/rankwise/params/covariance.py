"""Section covariance: the forward pass over the calibration text."""

from typing import Literal

from rankwise.methods.required_statistics import RequiredStatistics
from rankwise.params.section import Count, Section


class CovarianceParams(Section):
    """Section ``covariance``."""

    pools: Count = 8
    """Groups of calibration sequences (Bolaco: 32 groups of 32); divides their number."""
    batch: Count = 16
    """Sequences in one forward pass."""
    moments: Literal["channels", "smaller", "inputs"] | None = None
    """Second moments to gather (`rankwise.methods.required_statistics`); null = those that the methods of section decompose need."""
    shards: Count = 1
    """Jobs that share the pools; any number gives the same bytes; divides ``pools``."""
    streaming: bool = False
    """Whether only one layer group (`compute.layers_per_job`) of the dense model is in memory at a time."""

    @property
    def gathered(self) -> RequiredStatistics:
        """Statistics to gather; all of them where ``moments`` is null."""
        return RequiredStatistics[(self.moments or "inputs").upper()]
