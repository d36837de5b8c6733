"""How many examples a state machine with faults runs: few by default, many with the profile ``thorough``."""

from hypothesis import settings

_THOROUGH = 30


def examples(count: int) -> int:
    """Return the number of examples under the profile in force, for a machine that runs ``count`` by default."""
    return count * _THOROUGH if settings.get_current_profile_name() == "thorough" else count
