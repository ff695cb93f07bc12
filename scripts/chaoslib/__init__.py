"""What scripts/chaos is made of: a plan of what to do to a server, the server, its clients, and who judges losses."""
