"""What scripts/bench is made of: standard library alone, and each server runs in a process of its own."""
