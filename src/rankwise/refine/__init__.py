"""Refiners: one file each, found by listing this folder."""

from rankwise.refine.base import Refiner
from rankwise.registry import Registry

refiners: Registry[Refiner] = Registry(__name__, Refiner)
