"""Requirements of one stage: memory, disk and operations, from which a plan is computed."""

from dataclasses import dataclass, field

from rankwise.planning.sizes import Sizes


@dataclass(frozen=True)
class Requirement:
    """Requirements of one stage."""

    stage: str
    jobs: int
    tensors: int
    """Largest memory of one job on its compute device [bytes]."""
    mapped: int = 0
    """Main memory of that job in addition to ``tensors``: mapped files, streams [bytes]."""
    disk: int = 0
    """Disk space of the results of all jobs [bytes]."""
    scratch: int = 0
    """Largest temporary disk space of one job while it runs, in addition to ``disk`` [bytes]."""
    passed: float = 0.0
    """Tokens that pass the decoder layers, all jobs; a backward pass to the activations counts like a forward pass [tokens]."""
    heads: float = 0.0
    """Tokens whose predictions are computed, all jobs [tokens]."""
    products: float = 0.0
    """Multiplications in other float32 matrix products, all jobs [-]."""
    factored: dict[tuple[str, tuple[int, int]], int] = field(default_factory=dict)
    """Section of decompose and shape [out, in] → matrices factored."""
    moved: int = 0
    """Bytes that all jobs read and write [bytes]."""
    scoring: int = 0
    """Jobs that run forward passes; 0 means all jobs [-]."""

    @property
    def share(self) -> int:
        """Number of jobs that share the forward passes evenly [-]."""
        return self.scoring or self.jobs

    def flops(self, sizes: Sizes) -> float:
        """Return the floating-point operations of forward and backward passes and products [-]."""
        head = sizes.vocabulary * sizes.width
        return 2 * (self.passed * sizes.linear_numbers + self.heads * head + self.products)
