"""The moments that a method needs, by which the program matches decomposers and the covariance pass."""

from enum import IntEnum


class RequiredStatistics(IntEnum):
    """Second moments of a linear [out, in]: a decomposer declares what it needs, the pass gathers the largest.

    Means of the inputs and of their absolute values, [in] each, come with every level.
    """

    CHANNELS = 0
    """The mean square of every channel [in]."""
    SMALLER = 1
    """Second moments on the smaller side: E[x xᵀ] [in, in], or those of y = W x, [out, out] (methods.md)."""
    INPUTS = 2
    """E[x xᵀ] [in, in], also where the outputs are smaller."""

    def __str__(self) -> str:
        return self.name.lower()
