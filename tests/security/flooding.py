"""A flood from a process of its own: ``python -m tests.security.flooding FILE`` sends what FILE names until ended.

FILE is JSON: bootstrap, ca, certificate, key, topic, and values in hex.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing


async def flood(plan: dict[str, str], values: list[bytes]) -> None:
    """Send all values again and again, as fast as Kafka takes them."""
    files = TlsFiles(Path(plan["ca"]), Path(plan["certificate"]), Path(plan["key"]))
    producer = IdempotentProducer(KafkaConnection(plan["bootstrap"], files, "flood"))
    while True:
        # Kafka holding back is what is hoped for.
        with suppress(TransientError):
            await producer.send([Outgoing(plan["topic"], value, b"flood", 0) for value in values])


if __name__ == "__main__":
    read = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    asyncio.run(flood(read, [bytes.fromhex(value) for value in read["values"]]))
