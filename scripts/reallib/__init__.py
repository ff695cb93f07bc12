"""What scripts/try-real is made of: standard library alone; the services run in virtual environments of their own."""
