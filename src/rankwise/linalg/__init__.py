"""Linear algebra that all methods share: functions from tensors to tensors."""
