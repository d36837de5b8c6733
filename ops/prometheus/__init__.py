"""Prometheus beside the programs: its settings, alert rules, and running it on this machine."""
