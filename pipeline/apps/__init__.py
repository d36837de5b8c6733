"""Composition roots: stream workers, HTTP app, command line."""
