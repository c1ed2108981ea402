"""Allocators: every file of this folder defines one; the registry discovers them."""

from rankwise.allocate.base import Allocator
from rankwise.methods.registry import Registry

allocators: Registry[Allocator] = Registry(__name__, Allocator)
