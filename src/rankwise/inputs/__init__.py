"""Where models, texts and tasks come from, and how they are opened."""
