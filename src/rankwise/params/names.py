"""The name of the dense model next to the runs."""

DENSE = "dense"
"""Name of the dense model where the name of a run is expected."""
