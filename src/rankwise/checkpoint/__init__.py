"""Checkpoints: write, read and check them, and merge them back into dense models."""
