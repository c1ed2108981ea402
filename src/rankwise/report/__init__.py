"""The report: one self-contained page and the table of the study, from records alone."""
