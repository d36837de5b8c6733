"""Lets ``python -m pipeline.apps.cli`` do what ``bkdms`` does."""

from pipeline.apps.cli.root import main

main()
