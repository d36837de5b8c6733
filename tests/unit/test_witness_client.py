"""Asking a witness over HTTP: what it answers comes back within bounds, or not at all."""

import gzip
from collections.abc import AsyncIterator

import pytest

from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.core.errors import TransientError
from pipeline.core.note import ED25519, VerifierKey
from pipeline.core.witness import MAX_ANSWER_BYTES
from tests.support.witness import Answer, HonestWitness, Raw, drip, flood, hang, no_http, reset

LONG_S = 60.0
BRIEF_S = 0.2


@pytest.fixture
async def witness() -> AsyncIterator[HonestWitness]:
    found = HonestWitness(VerifierKey("log.example/one", ED25519, bytes(31) + b"\x05"))
    async with found.served():
        yield found


async def ask(witness: HonestWitness, spoilt: Answer | Raw, timeout_s: float = LONG_S) -> tuple[int, bytes]:
    witness.spoil = lambda _request: spoilt
    client = HttpWitnessClient(timeout_s)
    try:
        return await client.add_checkpoint(witness.url, b"old 0\n\nthe note")
    finally:
        await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"cosigned\n"),
        Answer(409, b"5\n", "text/x.tlog.size"),
        Answer(500),
        Answer(307, b"elsewhere\n", "text/plain\r\nlocation: /prefix/add-checkpoint"),
        Answer(200, gzip.compress(bytes(1000)), "text/plain\r\ncontent-encoding: gzip"),
        Answer(200, bytes(MAX_ANSWER_BYTES)),
    ],
)
async def test_an_answer_comes_back_as_it_was_sent(witness: HonestWitness, answer: Answer) -> None:
    assert await ask(witness, answer) == (answer.status, answer.body)
    assert witness.requests == [b"old 0\n\nthe note"]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (flood, "exceeds"),
        (Answer(200, bytes(MAX_ANSWER_BYTES + 1)), "exceeds"),
        (reset, None),
        (no_http, None),
    ],
)
async def test_what_is_no_bounded_answer_is_a_passing_fault(
    witness: HonestWitness, spoilt: Answer | Raw, said: str | None
) -> None:
    with pytest.raises(TransientError, match=said) as failed:
        await ask(witness, spoilt)
    assert failed.value.code == "witness_away"


@pytest.mark.parametrize("spoilt", [hang, drip])
async def test_an_answer_that_takes_too_long_is_not_waited_for(witness: HonestWitness, spoilt: Raw) -> None:
    with pytest.raises(TransientError, match="no answer in"):
        await ask(witness, spoilt, BRIEF_S)


async def test_nobody_there_is_a_passing_fault(witness: HonestWitness) -> None:
    client = HttpWitnessClient(LONG_S)
    with pytest.raises(TransientError):
        await client.add_checkpoint("http://127.0.0.1:1/", b"")
    await client.close()
