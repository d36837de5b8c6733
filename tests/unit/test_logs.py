"""Logging: one JSON object a line on standard error, and no payload in it."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from pipeline.telemetry import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Puts the logging of the test session back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_json_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    logs.logger("a.b").info("block_committed", height=7)
    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert (line["event"], line["height"], line["level"], line["logger"]) == (
        "block_committed",
        7,
        "info",
        "a.b",
    )
    assert line["timestamp"].endswith("Z")
    assert captured.out == ""


def test_bytes_show_their_length_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    logs.logger("a").warning("slip", payload=b"secret value")
    err = capsys.readouterr().err
    assert "secret" not in err
    assert json.loads(err)["payload"] == "<12 bytes>"


def test_records_of_libraries_become_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    logging.getLogger("somebody.else").error("lost %s", "it")
    assert json.loads(capsys.readouterr().err)["event"] == "lost it"


def test_libraries_that_tell_every_reconnect_are_heard_from_warnings_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", json=True)
    logging.getLogger("aiokafka.consumer").info("chatter")
    assert capsys.readouterr().err == ""


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", json=True)
    logs.logger("a").info("quiet")
    assert capsys.readouterr().err == ""


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("loud")


def test_a_library_that_repeats_itself_is_heard_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the arguments; our own events are never held back."""
    logs.configure("info", json=True)
    for attempt in range(50):
        logging.getLogger("aiokafka").error("Unable to connect, attempt %s", attempt)
        logs.logger("pipeline.x").warning("retrying", attempt=attempt)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events.count("Unable to connect, attempt 0") == 1
    assert (len(events), events.count("retrying")) == (51, 50)
