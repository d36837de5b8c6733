"""Mutations of our own code: each removes one protection, and the suite must notice."""
