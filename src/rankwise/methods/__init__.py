"""What decomposers, allocators and refiners have in common: the registry and the contracts."""
