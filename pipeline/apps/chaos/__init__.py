"""Chaos: faults on a real stack under load, and an independent judgement after each of them.

Owns faults, rounds and their results. No program of the pipeline knows of it: what is done at a named step is done by
``harness``, which runs a program unchanged and steps in from outside (docs/decisions/0042-faults-from-outside.md).
"""
