"""A plain Faust agent that validates as our validator does: same parsing, same keys, same signature check, one by one.

Run as a program of its own by ``pipeline.apps.bench.peers.agent``. It keeps Faust's habits: a record at a time, its
own acknowledgements, its own producer. It promises none of what the validator promises.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import faust

from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.admission import is_signed
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.packet import Packet
from pipeline.services.validator import parse_submitted

MANY_EVENTS = 4096


def application(plan: dict[str, Any]) -> faust.App:
    """Return the application of a plan: where Kafka is, both topics, keys of the sites, its folder."""
    tls = TlsFiles(*(Path(plan[name]) for name in ("ca", "certificate", "key")))
    app = faust.App(
        "bkdms-bench-peer",
        broker=f"kafka://{plan['bootstrap']}",
        broker_credentials=faust.SSLCredentials(context=client_context(tls)),
        datadir=plan["folder"],
        store="memory://",
        cache="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=MANY_EVENTS,
        stream_wait_empty=False,
    )
    keys = {
        bytes.fromhex(fingerprint): PublicKey(Use.SITE, Algorithm(algorithm), bytes.fromhex(raw))
        for fingerprint, algorithm, raw in plan["keys"]
    }
    source = app.topic(plan["source"], value_serializer="raw", key_serializer="raw")
    target = app.topic(plan["target"], value_serializer="raw", key_serializer="raw")

    @app.agent(source)
    async def validate(stream: Any) -> None:
        async for value in stream:
            packet = parse_submitted(value)
            key = keys.get(packet.site_key) if isinstance(packet, Packet) else None
            if key is not None and isinstance(packet, Packet) and is_signed(key, packet):
                await target.send(value=value, partition=0)

    return app


def main() -> None:
    """Run the agent by the plan in the file that the first argument names."""
    logging.disable(logging.WARNING)
    app = application(json.loads(Path(sys.argv[1]).read_text()))
    faust.Worker(app, quiet=True, override_logging=False, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
