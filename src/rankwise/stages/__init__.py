"""The stages: each module's ``command`` reads typed artifacts, calls pure functions, writes artifacts."""
