"""A site's own packets, brought from where they are: the spool, the exported log, a file.

What is brought was signed by this site: either with a key that is here, or proven to be in the ledger under its name.
Anybody who has a reading key's public half could seal something to it, so that opening alone says nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.spool import read_delivery
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.prove import exported_log, trusted_by
from pipeline.apps.cli.values import read_file
from pipeline.apps.keys import key_files
from pipeline.apps.site_files import SiteFiles
from pipeline.config import Settings
from pipeline.core.admission import is_signed
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.keys import PublicKey, Use
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.proof import Proof, verify_proof
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.site_head import SiteHeadDocument, parse_site_head
from pipeline.services.tile_prover import LogProblem, MadeProof, open_prover
from pipeline.services.trace import TraceProblem, find_code


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which packets: those of a file, or of a tracing code, else of the spool; and where the exported log is."""

    file: Path | None = None
    code: str | None = None
    tiles: str | None = None
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class OwnPacket:
    """A packet that this site signed, and where it is, for people."""

    packet: Packet
    place: str


def own_packets(settings: Settings, wanted: Wanted) -> Iterator[OwnPacket]:
    """Yield the packets that are wanted, in order.

    Raises:
        ConfigError: a file or setting is missing or wrong.
        IntegrityError: what was found is not a packet of this site (code ``own_packet``).
        TransientError: the exported log can't be read right now.
    """
    if wanted.file is not None:
        found = _in_file(settings, wanted.file, wanted.policy)
    elif wanted.code is not None:
        found = _in_log(settings, wanted.code, wanted)
    else:
        yield from _in_spool(settings)
        return
    if found.packet.site != settings.site.name():
        raise _no(f"{found.place} is a packet of {found.packet.site}, not of {settings.site.name()}")
    yield found


def own_signing_keys(settings: Settings) -> dict[bytes, PublicKey]:
    """Return the public halves of the site's signing keys by fingerprint (32 bytes), the one in force first.

    Raises:
        ConfigError: one can't be opened.
    """
    files, held = SiteFiles(settings.site.key), key_files(settings, at_site=True)
    places = [settings.site.key, *(path for path in (files.next_key, files.former_key) if path.exists())]
    found = [held.signer(path, Use.SITE).public for path in places]
    return {key.fingerprint: key for key in found}


def _in_spool(settings: Settings) -> Iterator[OwnPacket]:
    keys = own_signing_keys(settings)
    for stored in read_delivery(settings.site.spool)[1]:
        yield _signed_here(keys, stored.raw, "spool")


def _in_log(settings: Settings, code: str, wanted: Wanted) -> OwnPacket:
    genesis = load_genesis(settings.genesis)
    place = find_code(code, genesis.chain)
    if isinstance(place, TraceProblem):
        raise ConfigError(place.advice)
    with exported_log(settings, wanted.tiles) as read:
        prover = open_prover(genesis, trusted_by(genesis, wanted.policy), read)
        made = prover if isinstance(prover, LogProblem) else prover.prove(place)
    if isinstance(made, MadeProof):
        return OwnPacket(made.proof.packet, str(place))
    raise _no(f"{code}: {made.advice if isinstance(made, TraceProblem) else made}")


def _in_file(settings: Settings, file: Path, policy: Path | None) -> OwnPacket:
    raw, genesis = read_file(file), load_genesis(settings.genesis)
    if isinstance(parse_packet(raw), Packet):
        return _signed_here(own_signing_keys(settings), raw, str(file))
    head = parse_site_head(raw)
    if isinstance(head, SiteHeadDocument):
        receipt, packet = verify_head(genesis, None, head), parse_packet(head.head.payload or b"")
        if isinstance(receipt, Receipt) and isinstance(packet, Packet):
            return OwnPacket(packet, str(receipt.tracing_code))
        raise _no(f"{file}: the receipt proves no packet")
    proof = verify_proof(trusted_by(genesis, policy), raw)
    if isinstance(proof, Proof):
        return OwnPacket(proof.packet, str(proof.code))
    raise _no(f"{file} is neither a packet nor a receipt, and no good proof: {proof}")


def _signed_here(keys: dict[bytes, PublicKey], raw: bytes, place: str) -> OwnPacket:
    packet = parse_packet(raw)
    key = keys.get(packet.site_key) if isinstance(packet, Packet) else None
    if not isinstance(packet, Packet) or key is None or not is_signed(key, packet):
        raise _no(
            f"{place}: this was not signed with a key that is here; open it by its tracing code (--code), which proves "
            "whose it is"
        )
    return OwnPacket(packet, place)


def _no(problem: str) -> IntegrityError:
    return IntegrityError(problem, code="own_packet")
