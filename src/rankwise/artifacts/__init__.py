"""The tensor artifacts, typed; only this package knows how they are stored.

All are safetensors files with one metadata entry, ``rankwise``: JSON with the schema's name and what
is no tensor. (One entry, because safetensors does not keep the order of several, and equal artifacts
must have equal bytes.)
"""

from rankwise.artifacts.factors import BlockFactors, Factors, SparsePart
from rankwise.artifacts.gradients import BlockCurvature, OutputGradient
from rankwise.artifacts.refined import RefinedBlock
from rankwise.artifacts.statistics import BlockStatistics, InputStatistics
from rankwise.artifacts.tokens import Tokens

__all__ = [
    "BlockCurvature",
    "BlockFactors",
    "BlockStatistics",
    "Factors",
    "InputStatistics",
    "OutputGradient",
    "RefinedBlock",
    "SparsePart",
    "Tokens",
]
