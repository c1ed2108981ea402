"""The results of a study, read from its records."""
