"""Attacks on a running deployment of our own, on this machine: what was tried, expected, seen."""
