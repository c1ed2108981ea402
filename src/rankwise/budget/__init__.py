"""The cost of a choice of ranks, and the spending of a budget."""
