"""postgres: how the embedded stack sets it up and runs it, and who may do what in it."""
