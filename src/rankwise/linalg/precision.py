"""The precision of factorisations."""

import torch

FACTORISE = torch.float64
"""Precision in which matrices are factored."""
