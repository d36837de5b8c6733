"""How much a test with faults tries: a little by default, a lot with the profile ``thorough``."""

from hypothesis import settings

_THOROUGH = 6


def is_thorough() -> bool:
    """Return whether the profile ``thorough`` is in force."""
    return settings.get_current_profile_name() == "thorough"


def examples(count: int) -> int:
    """Return the number of examples for a machine that runs ``count`` by default."""
    return count * _THOROUGH if is_thorough() else count
