"""Assessment worker: keeps the assessments of the store up to date, and sends what changes."""
