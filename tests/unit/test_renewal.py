"""The thread that renews while a stack runs."""

import threading
from collections.abc import Collection

from ops.renewal import Renewal
from pipeline.core.errors import TransientError

PATIENCE_S = 10


def test_it_renews_again_and_again_and_a_failure_is_told_and_tried_again() -> None:
    said: list[str] = []
    done = threading.Event()
    found: list[Collection[object] | Exception] = [TransientError("Kafka is away"), [], ["node:b", "node:a"]]
    answers = iter(found)

    def renew() -> Collection[object]:
        answer = next(answers, None)
        if answer is None:
            done.set()
            return []
        if isinstance(answer, Exception):
            raise answer
        return answer

    renewal = Renewal(renew, said.append, interval_s=0.01)
    assert done.wait(PATIENCE_S)
    renewal.close()
    assert said == [
        "certificates could not be renewed, and will be tried again: Kafka is away",
        "renewed the certificates of node:a, node:b",
    ]
