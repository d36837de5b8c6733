"""Accounting node: derives blocks, cosigns them, takes part in committing and publishing."""
