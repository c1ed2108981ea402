"""What one stage takes: the numbers that a plan is made of."""

from dataclasses import dataclass, field

from rankwise.planning.sizes import Sizes


@dataclass(frozen=True)
class Requirement:
    """What one stage takes."""

    stage: str
    jobs: int
    tensors: int
    """What the largest job holds on the device it computes on [bytes]."""
    beside: int = 0
    """What it holds beside that in main memory: mapped files, streams [bytes]."""
    disk: int = 0
    """What all jobs leave on the disk [bytes]."""
    scratch: int = 0
    """What the largest job has on the disk beside that while it runs [bytes]."""
    passed: float = 0.0
    """Tokens that pass the decoder layers forward, all jobs; a backward pass to the activations counts as one more [tokens]."""
    heads: float = 0.0
    """Tokens whose predictions are computed, all jobs [tokens]."""
    products: float = 0.0
    """Other multiplications of matrices in float32, all jobs [-]."""
    factored: dict[tuple[str, tuple[int, int]], int] = field(default_factory=dict)
    """Section of decompose and shape [out, in] → matrices factored."""
    moved: int = 0
    """What all jobs read and write [bytes]."""
    scoring: int = 0
    """Jobs that do what is passed, where not all do [-]."""

    @property
    def share(self) -> int:
        """Jobs among which what is passed is shared out evenly [-]."""
        return self.scoring or self.jobs

    def flops(self, sizes: Sizes) -> float:
        """Return the floating-point operations of forward and backward passes and products [-]."""
        head = sizes.vocabulary * sizes.width
        return 2 * (self.passed * sizes.linear_numbers + self.heads * head + self.products)
