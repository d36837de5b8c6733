"""The same log gives the same bytes, whatever runs it."""
