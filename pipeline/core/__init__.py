"""Pure ledger logic: no I/O, clock, randomness or logging."""
