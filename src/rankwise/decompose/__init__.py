"""Decomposers: one file each, found by listing this folder."""

from rankwise.decompose.base import Decomposer
from rankwise.methods.registry import Registry

decomposers: Registry[Decomposer] = Registry(__name__, Decomposer)
