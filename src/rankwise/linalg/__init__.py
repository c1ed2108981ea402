"""Tensors in, tensors out: the factorisations that all methods share."""
