"""Allocators: one file each, found by listing this folder."""

from rankwise.allocate.base import Allocator
from rankwise.methods.registry import Registry

allocators: Registry[Allocator] = Registry(__name__, Allocator)
