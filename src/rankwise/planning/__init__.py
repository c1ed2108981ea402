"""What a study takes: memory, disk and time, before anything runs."""
