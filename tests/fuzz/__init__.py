"""Fuzzing: whatever bytes arrive from outside, no crash, no hang, and no acceptance of what is not genuine.

``targets`` says what must hold for any input; ``tests/property/test_fuzz_targets.py`` tries it with Hypothesis in every
test run, ``python -m tests.fuzz`` for longer and guided by coverage (`make fuzz`).
"""
