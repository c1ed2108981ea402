"""Files on disk: atomic writes, checksums, safe YAML, paths that stay inside their folder."""
