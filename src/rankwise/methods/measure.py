"""The meaning of a decomposer's spectrum, by which the program matches allocators and decomposers."""

from enum import IntEnum


class Measure(IntEnum):
    """The meaning of a spectrum: a decomposer declares what it has, an allocator the least that it needs."""

    NONE = 0
    """No meaning: components have no sizes."""
    SIZE = 1
    """The size of every component, comparable inside one matrix."""
    LOSS = 2
    """The increase of the model's loss from dropping a component [nats/token], comparable between all matrices."""

    def __str__(self) -> str:
        return WORDS[self]


WORDS = {
    Measure.NONE: "nothing of its components",
    Measure.SIZE: "how large every component is in its own matrix",
    Measure.LOSS: "what dropping every component costs the model's loss",
}
