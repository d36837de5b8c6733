"""Benchmarks: a made-up chain with real signatures, and what each measurement does with it."""
