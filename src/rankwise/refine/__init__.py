"""Refiners: one file each, found by listing this folder."""

from rankwise.methods.registry import Registry
from rankwise.refine.base import Refiner

refiners: Registry[Refiner] = Registry(__name__, Refiner)
