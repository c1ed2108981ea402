"""What a decomposer's spectrum says: the fact by which allocators and decomposers are matched."""

from enum import IntEnum


class Measure(IntEnum):
    """A decomposer declares what its spectrum says, an allocator how much of that it needs at least."""

    NONE = 0
    """Nothing: components have no sizes."""
    SIZE = 1
    """The size of every component, comparable inside one matrix."""
    LOSS = 2
    """What dropping a component costs the model's loss [nats/token]: one currency for all matrices."""

    def __str__(self) -> str:
        return WORDS[self]


WORDS = {
    Measure.NONE: "nothing of its components",
    Measure.SIZE: "how large every component is in its own matrix",
    Measure.LOSS: "what dropping every component costs the model's loss",
}
