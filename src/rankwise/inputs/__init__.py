"""Models, texts and tasks: find their files, read them, sample windows of tokens."""
