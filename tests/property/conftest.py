"""Settings of the property tests: a busy machine must not fail them by the clock."""

from hypothesis import settings

settings.register_profile("bkdms", deadline=None, print_blob=True)
settings.load_profile("bkdms")
