"""What a choice of ranks costs, and how a budget is spent."""
