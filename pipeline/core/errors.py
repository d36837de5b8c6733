"""The few exceptions of the project. Expected refusals are values, not exceptions.

Each class says who has to act: the user (``ConfigError``), time (``TransientError``),
an operator after a halt (``IntegrityError``), the caller after reloading (``ConflictError``).
"""


class BkdmsError(Exception):
    """Base of all named errors; ``code`` is stable and doubles as the metric label."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(BkdmsError):
    """A setting, file or command is wrong; the message names it and the remedy."""

    code = "config"


class TransientError(BkdmsError):
    """Something outside is not there right now; the same call may succeed later."""

    code = "transient"


class IntegrityError(BkdmsError):
    """Verified data contradict one another; processing halts and names what to run."""

    code = "integrity"


class ConflictError(BkdmsError):
    """Somebody else moved the state on; reload it and decide again."""

    code = "conflict"
