"""Model families, the weights of a model folder, the device."""
