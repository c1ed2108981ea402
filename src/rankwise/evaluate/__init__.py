"""Evaluation of a model: perplexity, zero-shot accuracy and speed."""
