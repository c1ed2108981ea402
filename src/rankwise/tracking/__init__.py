"""MLflow, filled from records."""
