"""What scripts/try-corpora is made of: readers of foreign corpora, a client that judges, and where we differ."""
