"""The command line in the process of a test."""

import pytest

from pipeline.apps.cli import main


def run(*arguments: object) -> int:
    """Run bkdms in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run bkdms with a mistake: it ends with 2, no data and one line, which is returned."""
    assert run(*arguments) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    return error
