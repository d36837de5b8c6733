"""Settings of the property tests: a busy machine must not fail them by the clock, and a run can be repeated.

The same examples each time, on every machine; ``--hypothesis-profile=searching`` looks for new ones.

``--hypothesis-profile=thorough`` multiplies the examples of the state machines with faults; ``make determinism`` does.
"""

from hypothesis import settings

settings.register_profile("bkdms", deadline=None, print_blob=True, derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("bkdms"), max_examples=1000)
settings.register_profile("searching", settings.get_profile("bkdms"), derandomize=False)
settings.load_profile("bkdms")
