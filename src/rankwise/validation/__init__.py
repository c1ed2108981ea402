"""Checks of params.yaml across its sections, before anything runs."""
