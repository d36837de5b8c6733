"""The one exception of the oracle: it cannot judge, because an input is missing or not what it should be."""


class InputError(Exception):
    """An input that the user must correct; the message says which and how. Never raised for what is judged."""
