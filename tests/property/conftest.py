"""Settings of the property tests: a busy machine must not fail them by the clock.

``--hypothesis-profile=thorough`` multiplies the examples of the state machines with faults; ``make determinism`` does.
"""

from hypothesis import settings

settings.register_profile("bkdms", deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("bkdms"), max_examples=1000)
settings.load_profile("bkdms")
