"""Typed tensor artifacts; only this package knows their file format."""
