"""One file a user command."""
