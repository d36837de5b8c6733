"""Backup and restore of what can't be rebuilt: authority, keys, certificates, nodes' folders, and all blocks."""
