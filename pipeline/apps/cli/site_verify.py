"""``bkdms site verify``: a site checks that what it sent is in the ledger, as it sent it, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.site_own import JsonFlag, Policy, Tiles
from pipeline.apps.cli.values import write_file
from pipeline.core.errors import IntegrityError

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.core.delivery import StoredReceipt
    from pipeline.core.receipt import Receipt
    from pipeline.services.site_history import FoundPacket, History


def verify(
    ctx: typer.Context,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write packet, proof and certificate there as JSON.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Read the whole exported log, too: every packet under this site's name is proven, and opened where "
            "it is sealed to a reading key of the site.",
        ),
    ] = False,
    tiles: Tiles = None,
    policy: Policy = None,
    json: JsonFlag = False,
) -> None:
    """Check that the last receipt in the spool proves the commit of this site's packets, and that the others go on.

    The receipt covers every packet before it too, because each names the one before. Needs the genesis file alone,
    neither Kafka nor API nor keys; works beside a running agent. With --history also what others could have done: that
    the log still extends what was proven, and holds nothing under its name that is not in its chain of packets.

    Example: bkdms site verify --history
    """
    from pipeline.adapters.spool import read_delivery  # noqa: PLC0415
    from pipeline.apps.authority import load_genesis  # noqa: PLC0415
    from pipeline.services.site_agent import check_receipt  # noqa: PLC0415
    from pipeline.services.site_history import waiting_problem  # noqa: PLC0415

    settings = settings_of(ctx)
    stored, waiting = read_delivery(settings.site.spool)
    problem = waiting_problem(settings.site.name(), stored, waiting)
    if problem is not None:
        raise IntegrityError(f"{settings.site.spool}: {problem}", code="spool_packets")
    if stored is None and not history:
        say("no receipt yet: nothing of this site is verified as committed")
        if json:
            emit_json({"receipt": None})
        return
    genesis = load_genesis(settings.genesis)
    proven = None if stored is None else check_receipt(genesis, settings.site.name(), stored)
    if isinstance(proven, str):
        raise IntegrityError(f"the receipt in {settings.site.spool} proves nothing: {proven}", code="receipt")
    if stored is not None and output is not None:
        write_file(output, _portable(stored))
    facts = _facts_of(proven, verify_history(settings, stored, tiles, policy) if history else None)
    if json:
        emit_json(facts)
    else:
        _tell(proven, facts.get("history"))


def verify_history(
    settings: "Settings", stored: "StoredReceipt | None", tiles: str | None, policy: Path | None
) -> dict[str, Any]:
    """Check everything that the exported log holds under the site's name, and return it as a JSON value.

    Packets that are sealed to a reading key that is here are opened, too.

    Raises:
        IntegrityError: something is wrong; the message names it (code ``site_history``).
        ConfigError, TransientError: settings are missing, or the log can't be read right now.
    """
    from pipeline.apps.authority import load_genesis  # noqa: PLC0415
    from pipeline.apps.cli.prove import counted_reads, exported_log, trusted_by  # noqa: PLC0415
    from pipeline.core.avro import require_compiled_reader  # noqa: PLC0415
    from pipeline.services.site_history import SiteHistory  # noqa: PLC0415
    from pipeline.services.tile_prover import LogProblem, open_prover  # noqa: PLC0415

    require_compiled_reader()
    genesis, opening = load_genesis(settings.genesis), _Opening(settings)
    with exported_log(settings, tiles) as unseen, counted_reads(unseen) as read:
        prover = open_prover(genesis, trusted_by(genesis, policy), read)
        if isinstance(prover, LogProblem):
            raise IntegrityError(f"the exported log: {prover}", code="site_history")
        head = None if stored is None else stored.head
        found = SiteHistory(prover, settings.site.name(), opening.see).verify(head)
    problem = found.problem or opening.problem
    if problem is not None:
        raise IntegrityError(f"this site's history is not good: {problem}", code="site_history")
    return _history_json(found, opening, prover.tree_size)


class _Opening:
    """Opens what can be opened of a history, and counts; nothing where the site has no reading keys."""

    def __init__(self, settings: "Settings") -> None:
        from pipeline.apps.keys import reading_keys  # noqa: PLC0415

        self._keys = reading_keys(settings)
        self._has_keys = bool(self._keys.held())
        self.opened = 0
        self.problem: str | None = None

    def see(self, found: "FoundPacket") -> None:
        """Open one packet of the history, where it is sealed to a key that is here."""
        from pipeline.core.own_packet import NO_KEY, open_own  # noqa: PLC0415

        if not self._has_keys:
            return
        records = open_own(found.packet, self._keys.get)
        if not isinstance(records, str):
            self.opened += 1
        elif records != NO_KEY and self.problem is None:
            self.problem = f"{found.code}: {records}"


def _history_json(found: "History", opening: _Opening, tree_size: int) -> dict[str, Any]:
    return {
        "packets": found.packets,
        "records": found.records,
        "opened": opening.opened,
        "first": None if found.first is None else str(found.first),
        "last": None if found.last is None else str(found.last),
        "tree_size": tree_size,
        "behind_receipt": found.is_behind,
    }


def _facts_of(receipt: "Receipt | None", history: dict[str, Any] | None) -> dict[str, Any]:
    found = {"receipt": None} if receipt is None else _receipt_json(receipt)
    return found if history is None else found | {"history": history}


def _tell(receipt: "Receipt | None", history: dict[str, Any] | None) -> None:
    if receipt is not None:
        moment = datetime.fromtimestamp(receipt.certified_at, UTC).isoformat()
        print(
            f"good: packet {receipt.sequence} of {receipt.site} and all before it are committed, "
            f"{receipt.tracing_code}, certified {moment} by {', '.join(receipt.signers)}"
        )
    if history is not None:
        span = f", {history['first']} to {history['last']}" if history["packets"] else ""
        print(
            f"good: {history['packets']} packets with {history['records']} records are in the log of "
            f"{history['tree_size']} leaves under this site's name{span}, and no other; {history['opened']} opened"
        )
        if history["behind_receipt"]:
            say("note: the exported log ends before the last receipt; look again when it has grown")


def _receipt_json(receipt: "Receipt") -> dict[str, Any]:
    return {
        "receipt": {
            "site": str(receipt.site),
            "sequence": receipt.sequence,
            "packet_id": receipt.packet_id.hex(),
            "tracing_code": str(receipt.tracing_code),
            "height": receipt.tracing_code.height,
            "tree_size": receipt.tree_size,
            "root": receipt.root.hex(),
            "certified_at": receipt.certified_at,
            "signers": list(receipt.signers),
        }
    }


def _portable(stored: "StoredReceipt") -> bytes:
    """Return the head document with the packet that it proves, for somebody who has the genesis file."""
    from json import dumps  # noqa: PLC0415

    from pipeline.core.site_head import ReceiptProblem, parse_site_head  # noqa: PLC0415

    document = parse_site_head(stored.document)
    if isinstance(document, ReceiptProblem):
        raise IntegrityError(document.detail, code="receipt")
    whole = replace(document, head=replace(document.head, payload=stored.packet))
    return (dumps(whole.as_json(), indent=1) + "\n").encode()
