"""Composition of the stream workers: one module per worker, each with the command of its name."""
