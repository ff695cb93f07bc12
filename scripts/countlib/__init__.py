"""What scripts/count is made of: a worker's loop under valgrind, a client that isn't, and the record of the counts."""
