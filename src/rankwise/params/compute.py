"""Section compute: device, threads and the layers of one job."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Count, Section


class Compute(Section):
    """Section ``compute``: device and threads; the bytes of results depend on them."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Count = 1
    """Threads of one job on the CPU; several jobs run at the same time."""
    layers_per_job: Count = 2
    """Decoder layers in one file of statistics, and in one decomposition job."""

    def layer_groups(self, layers: int) -> list[list[int]]:
        """Return the layer group of each job: consecutive layers."""
        step = self.layers_per_job
        return [list(range(layers))[i : i + step] for i in range(0, layers, step)]
