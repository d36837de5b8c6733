"""What somebody with write access could put on our topics, and what has to become of each."""

from dataclasses import dataclass, replace

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, TICK_VALUE
from pipeline.core.block import CERTIFIED_BLOCK, Block, encode_certified, encode_header, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Control, Revoke, parse_control
from pipeline.core.merkle import EMPTY_ROOT
from pipeline.core.names import MAX_LONG, MAX_TIME_MS
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.services.accounting.votes import Candidate, vote_message
from schemas import schema
from tests.support.chain import Chain, framed
from tests.support.forge import Forge, parsed, resigned
from tests.support.validation import changed_packet, registration_value
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value, secret

YEAR_1_MS = -62_135_596_800_000
HUGE_COUNT = b"\x80\x80\x80\x80\x20"
"""The beginning of an array that announces two thousand million items."""
FOREIGN_FRAME = b"\0" + (999).to_bytes(4, "big")
COSIGNATURE = schema("Cosignature")
Hostile = list[tuple[bytes | None, Outcome]]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A site of a world whose enrolment is on the chain log, with the control records that did it."""

    world: World
    site: TestSite
    controls: tuple[bytes, ...]


def enrolled(world: World, number: int = 1) -> Enrolled:
    """Return a site with the control records that let it in; the caller sends them."""
    site = world.site(number)
    return Enrolled(world, site, tuple(world.enrolment(site)))


def other_world(world: World) -> World:
    """Return a chain of the same authorities on another chain log."""
    return World(world.nodes, world.quorum, topic="other.chain")


def malformed_values(case: Enrolled) -> Hostile:
    """Return what is no record at all, or not the one encoding of it."""
    raw, control = case.site.packet(advance=False), case.controls[0]
    fields = parse_control(control)
    assert isinstance(fields, Control)
    chain = Chain(case.world)
    chain.block(*map(control_value, case.controls))
    header = chain.blocks[0].block.header
    return [
        (secret("random", 400), Outcome.FOREIGN_SCHEMA),
        (None, Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        (b"\0\0\0", Outcome.FOREIGN_SCHEMA),
        (packet_value(raw[:-7]), Outcome.MALFORMED),
        (packet_value(b""), Outcome.MALFORMED),
        *((packet_value(bytes(size)), Outcome.OVERSIZED) for size in (MAX_PACKET_BYTES + 1, *3 * [71_680])),
        (secret("large", 900_000), Outcome.OVERSIZED),
        (FOREIGN_FRAME + raw, Outcome.FOREIGN_SCHEMA),
        (packet_value(b"\x82\x00" + raw[1:]), Outcome.MALFORMED),
        (packet_value(raw + b"\0"), Outcome.MALFORMED),
        (packet_value(parsed(raw).clear + HUGE_COUNT), Outcome.MALFORMED),
        (avro.frame(CONTROL_SCHEMA, fields.clear + HUGE_COUNT), Outcome.MALFORMED),
        (TICK_VALUE + b"\0", Outcome.MALFORMED),
        (avro.frame(schema("Header"), encode_header(header)), Outcome.FOREIGN_SCHEMA),
        (packet_value(encode_header(header)), Outcome.MALFORMED),
        (framed(chain.certified[0]), Outcome.FOREIGN_SCHEMA),
    ]


def absurd_packets(case: Enrolled) -> Hostile:
    """Return well-formed packets that registry, contract and continuation refuse."""
    site, raw = case.site, case.site.packet(advance=False)
    stranger, other = case.world.site(7), other_world(case.world).site(1)
    late = {"collected_to": MAX_TIME_MS}
    return [
        (changed_packet(site, collected_from=YEAR_1_MS), Outcome.OUT_OF_RANGE),
        (packet_value(resigned(site, raw, **late).raw), Outcome.TOO_NEW),
        (packet_value(resigned(site, raw, sequence=MAX_LONG).raw), Outcome.SEQUENCE_JUMP),
        (packet_value(resigned(site, raw, previous_packet=secret("link")).raw), Outcome.BROKEN_LINK),
        (changed_packet(site, signature=bytes(64)), Outcome.BAD_SIGNATURE),
        (packet_value(stranger.packet(advance=False)), Outcome.UNKNOWN_SITE),
        (packet_value(other.packet(advance=False)), Outcome.WRONG_CHAIN),
        (changed_packet(site, site_key=secret("key")), Outcome.WRONG_KEY),
        (changed_packet(site, recipients=[]), Outcome.OUT_OF_RANGE),
    ]


def false_controls(case: Enrolled) -> Hostile:
    """Return control records that no registrar of this chain has issued now."""
    world, first, last = case.world, case.controls[0], case.controls[-1]
    impostor = World(world.nodes, world.quorum, topic=world.topic)
    impostor.registrar = impostor.roots[0]
    revoke = Revoke(case.site.name, case.site.signer.public.fingerprint, "hostile")
    forged = bytearray(World(world.nodes, world.quorum, topic=world.topic).control(revoke))
    forged[-2] ^= 1
    return [
        (control_value(impostor.control(revoke)), Outcome.UNKNOWN_ISSUER),
        (control_value(bytes(forged)), Outcome.BAD_SIGNATURE),
        (control_value(first), Outcome.STALE),
        (control_value(last), Outcome.DUPLICATE),
        (control_value(other_world(world).control(revoke)), Outcome.WRONG_CHAIN),
    ]


def false_votes(world: World, liar: str, height: int) -> list[bytes | None]:
    """Return messages for the cosignatures topic that no honest node would send about ``height``."""
    genesis, signer = world.genesis, world.node_signers[liar]
    honest = next(name for name in world.node_signers if name != liar)
    root = secret("root")
    about = Candidate(height, root, Checkpoint(genesis.origin, 3 * height, root))
    vote = vote_message(genesis.chain, about, liar, [signer], 1)
    far = vote_message(genesis.chain, replace(about, height=MAX_LONG), liar, [signer], 1)
    fields = avro.unframe(COSIGNATURE, vote)
    assert fields is not None

    def changed(**changes: object) -> bytes:
        return avro.frame(COSIGNATURE, avro.encode(COSIGNATURE, fields | changes))

    (line,) = fields["signatures"]
    return [
        None,
        b"",
        secret("random", 300),
        vote[:-1],
        vote + b"\0",
        FOREIGN_FRAME + vote[5:],
        far,
        vote_message(secret("chain"), about, liar, [signer], 1),
        changed(node=honest),
        changed(node="node-99"),
        changed(root=EMPTY_ROOT),
        changed(tree_size=MAX_LONG),
        changed(height=-1),
        changed(signatures=[]),
        changed(signatures=[b""]),
        changed(signatures=[line[:4] + b"\xff" * 8 + line[12:]]),
        changed(signatures=100 * [line]),
        vote_message(genesis.chain, about, liar, [signer], MAX_LONG),
    ]


def false_registrations(case: Enrolled) -> list[tuple[bytes | None, Outcome]]:
    """Return records for the sites topic that let nobody in, and nobody back in, when ``case`` is revoked."""
    world, site = case.world, case.site
    genuine = registration_value(world, case.controls[0], 1)
    impostor = World(world.nodes, world.quorum, topic=world.topic)
    impostor.registrar = impostor.roots[0]
    unsigned = bytearray(case.controls[0])
    unsigned[-2] ^= 1
    stranger = impostor.enrolment(world.site(8))[0]
    foreign = other_world(world).enrolment(site)[0]
    return [
        (None, Outcome.EMPTY),
        (secret("random", 300), Outcome.FOREIGN_SCHEMA),
        (genuine[:-3], Outcome.MALFORMED),
        (genuine + b"\0", Outcome.MALFORMED),
        (genuine[:5] + HUGE_COUNT, Outcome.MALFORMED),
        (FOREIGN_FRAME + genuine[5:], Outcome.FOREIGN_SCHEMA),
        (registration_value(world, bytes(unsigned), 99), Outcome.BAD_SIGNATURE),
        (registration_value(world, stranger, 99), Outcome.UNKNOWN_ISSUER),
        (registration_value(world, foreign, 99), Outcome.WRONG_CHAIN),
        (genuine, Outcome.STALE),
        (registration_value(world, case.controls[0], 99), Outcome.STALE),
    ]


def false_blocks(world: World, certified: bytes, block: Block, certificate: bytes) -> list[bytes | None]:
    """Return records for the blocks topic that are not ``block``, whose true certificate is known already.

    ``certified`` is an earlier block of the chain. The last two borrow the true certificate.
    """
    foreign = Chain(other_world(world))
    foreign.enrol(foreign.world.site(1))
    future = make_block(replace(block.header, height=block.header.height + 1000), block.entries)
    lie = Checkpoint(world.genesis.origin, block.header.tree_size + 5000, secret("root"))
    entry = block.entries[0]
    other_entries = (replace(entry, payload=entry.payload[:-1] + bytes((entry.payload[-1] ^ 1,))),)
    altered = make_block(block.header, other_entries + block.entries[1:])
    return [
        None,
        b"",
        secret("random", 500),
        avro.frame(CERTIFIED_BLOCK, secret("random", 500)),
        FOREIGN_FRAME + certified,
        framed(foreign.certified[0]),
        framed(certified),
        framed(encode_certified(future, world.certificate(lie, ["node-3"]))),
        framed(encode_certified(future, certificate)),
        framed(encode_certified(altered, certificate)),
    ]


def unfit_packets(world: World, good: TestSite, keyless: TestSite) -> list[tuple[bytes, tuple[str, str]]]:
    """Return packets that the chain admits, with the status and reason that the platform has to store.

    ``good`` is enrolled and its key is known, ``keyless`` is enrolled; sites 11 and 12 have to be, too.
    """
    ungranted = KpiValue("LOCAL:SOMETHING_ELSE", "", 1, 0, "C62")
    extending = Extending("s", QualityCode.ACCURATE_MEASUREMENT, "t")
    other_indicator = encode_record(UnifiedRecord(good.name, NOW_MS, (ungranted,), extending))
    sealed = world.site(11)
    garbled = resigned(sealed, sealed.packet(), encrypted_kpi_data=secret("garbage", 400)).raw
    return [
        (good.packet([1]), ("ok", "")),
        (keyless.packet([2]), ("unopened", "no_key")),
        (
            good.packet(records=[good.record(3), good.record(3, name=keyless.name)]),
            ("mismatch", "other_site"),
        ),
        (good.packet(records=[good.record(4, NOW_MS + 1)]), ("mismatch", "outside_period")),
        (good.packet(records=[good.record(5, NOW_MS - 1)]), ("mismatch", "outside_period")),
        (good.packet(records=[other_indicator]), ("mismatch", "indicator_not_granted")),
        (good.packet(records=[secret("record", 80)]), ("mismatch", "bad_record")),
        (garbled, ("mismatch", "does_not_open")),
        (
            Forge(world.site(12)).packet(lambda h: h, digest=secret("digest")).raw,
            ("mismatch", "wrong_digest"),
        ),
        (good.packet([6]), ("ok", "")),
    ]
