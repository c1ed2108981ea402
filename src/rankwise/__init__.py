"""Rankwise: low-rank compression of large language models as a reproducible workflow."""

__version__ = "0.1.0"
