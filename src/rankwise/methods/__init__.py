"""What decomposers, allocators and refiners share: the registry and the declarations that match them."""
