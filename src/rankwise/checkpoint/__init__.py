"""Checkpoints: written, read, checked, and merged back into dense models."""
