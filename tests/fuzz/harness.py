"""One target under atheris: ``python -m tests.fuzz.harness NAME CORPUS [libFuzzer options]``. Ends the process."""

import sys
from hashlib import sha256
from pathlib import Path

import atheris

_INSTRUMENTED = ["pipeline.core", "pipeline.services.accounting.votes"]


def main() -> None:
    """Fuzz one target until the time is over or something is found."""
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  only what is imported here is instrumented

    name = sys.argv.pop(1)
    target = TARGETS[name]
    for seed in target.seeds():
        assert target.check(seed), f"a genuine input of {name} is refused"
        (Path(sys.argv[1]) / sha256(seed).hexdigest()).write_bytes(seed)

    def one(data: bytes) -> None:
        target.check(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
