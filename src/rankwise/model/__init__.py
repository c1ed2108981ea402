"""Model families, the weights of a model folder, and the compute device."""
