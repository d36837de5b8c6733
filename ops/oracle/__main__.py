"""``python -m ops.oracle``: judge a run. Exit 0 clean, 1 with faults named, 2 usage or input."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ops.oracle.input_error import InputError
from ops.oracle.judge import judge
from ops.oracle.plan import load_plan


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    tls = (options.ca, options.certificate, options.key)
    if options.bootstrap and None in tls:
        parser.error("--bootstrap needs --ca, --certificate and --key")
    try:
        verdict = judge(
            load_plan(options.plan), _values(options), options.store, options.schemas, options.genesis
        )
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(asdict(verdict), indent=1) + "\n")
    return 0 if verdict.is_clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.oracle", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="what each site was told to send")
    parser.add_argument("--store", type=Path, required=True, help="the platform's SQLite store")
    parser.add_argument("--schemas", type=Path, required=True, help="folder of the Avro schemas")
    parser.add_argument("--genesis", type=Path, help="genesis file that pins the chain")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--blocks-dir", type=Path, help="folder with one raw value of the topic a file")
    source.add_argument("--bootstrap", help="address of Kafka")
    parser.add_argument("--ca", type=Path, help="certificate of Kafka's authority, PEM")
    parser.add_argument("--certificate", type=Path, help="client certificate that may read the topic, PEM")
    parser.add_argument("--key", type=Path, help="its private key, PEM")
    parser.add_argument("--topic", default="kpi.blocks.v1", help="blocks topic")
    parser.add_argument("--group", help="consumer group that the certificate may name, if it is no auditor's")
    return parser


def _values(options: argparse.Namespace) -> Iterable[bytes]:
    if options.blocks_dir:
        return _folder_values(options.blocks_dir)
    from ops.oracle.kafka_values import (  # noqa: PLC0415  a folder needs no Kafka client
        AUDITOR_GROUP,
        KafkaSource,
        topic_values,
    )

    tls = options.ca, options.certificate, options.key
    return topic_values(KafkaSource(options.bootstrap, *tls, options.topic, options.group or AUDITOR_GROUP))


def _folder_values(folder: Path) -> list[bytes]:
    """Return the files' bytes in the order of the numbers in their names."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one with a raw value of the blocks topic a file")
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda path: _natural(path.name))
    return [path.read_bytes() for path in files]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


if __name__ == "__main__":
    sys.exit(main())
