"""Estimates of the memory, disk and time of a study, before anything runs."""
