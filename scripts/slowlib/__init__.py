"""What scripts/try-slow is made of: an application, slowhttptest's attacks on it, and a visitor who isn't slow."""
