"""The stored log gives the stored bytes, down to tiles, rows and messages; ``make determinism`` varies what runs it."""

import json

from tests.determinism.derive import GOLDEN, digests
from tests.determinism.run import differences


def test_everything_that_follows_from_the_stored_log_is_as_stored() -> None:
    assert differences(digests(), json.loads(GOLDEN.read_text())) == []


def test_a_byte_that_differs_is_named() -> None:
    assert differences({"a": "1", "b": "2", "new": "4"}, {"a": "1", "b": "3", "gone": "5"}) == [
        "b",
        "gone",
        "new",
    ]
