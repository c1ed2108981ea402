"""Decomposers: every file of this folder defines one; the registry discovers them."""

from rankwise.decompose.base import Decomposer
from rankwise.methods.registry import Registry

decomposers: Registry[Decomposer] = Registry(__name__, Decomposer)
