"""Refiners: every file of this folder defines one; the registry discovers them."""

from rankwise.methods.registry import Registry
from rankwise.refine.base import Refiner

refiners: Registry[Refiner] = Registry(__name__, Refiner)
