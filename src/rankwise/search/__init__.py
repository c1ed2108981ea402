"""Allocation problems, and the scoring of candidates on search text."""
