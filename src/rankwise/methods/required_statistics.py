"""Which moments of its inputs a method needs: the fact by which decomposers and the pass are matched."""

from enum import IntEnum


class RequiredStatistics(IntEnum):
    """A decomposer declares what it needs; the pass gathers what the most demanding one does.

    For a linear [out, in], beside means and means of sizes, [in] each.
    """

    CHANNELS = 0
    """The mean square of every channel [in]."""
    SMALLER = 1
    """Second moments on the smaller side: E[x xᵀ] [in, in], or those of y = W x, [out, out] (methods.md)."""
    INPUTS = 2
    """E[x xᵀ] [in, in], whatever the outputs are."""

    def __str__(self) -> str:
        return self.name.lower()
