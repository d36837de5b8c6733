"""Sending: seals spooled records into packets, keeps each before its first sending, sends in order.

A packet's bytes are sent unchanged ever after. Sending twice is harmless (continuation rule), so after any
doubt everything unconfirmed is sent again from the first on.
"""

from dataclasses import dataclass

from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.agreement import Hold
from pipeline.core.batching import Batching, due_in_ms, fitting
from pipeline.core.delivery import Made, StoredPacket
from pipeline.core.packet import SEED_BYTES, Packet, PacketDraft, packet_id, parse_packet, seal_packet
from pipeline.core.sealing import CONTENT_KEY_BYTES
from pipeline.ports import Outgoing
from pipeline.services.site_agent.needs import SiteParts
from pipeline.services.site_agent.retry import settled
from pipeline.services.site_agent.standing import Sealing
from pipeline.telemetry import site_metrics

_SEND_PACKETS = 16
"""Packets of one send, which bounds memory to about one megabyte."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What one step of sending did: packets sent; milliseconds until the next is due, None for none waiting.

    ``hold`` says why nothing new is sealed.
    """

    packets: int
    next_due_ms: int | None
    hold: Hold | None = None


class Sender:
    """Seals and sends for one site."""

    def __init__(self, parts: SiteParts, batching: Batching, window: int) -> None:
        self._parts, self._standing, self._spool = parts, parts.standing, parts.spool
        self._batching, self._window, self._label = batching, window, parts.label
        self._key = str(parts.terms.site).encode()
        self._sent_through = 0
        self._highest = 0
        self._in_doubt = False
        self._log = parts.log

    def rewind(self, *, in_doubt: bool = False) -> None:
        """Make the next step send again from the first packet that is not confirmed.

        ``in_doubt`` says that sending them brought nothing: what a former key signed is then signed anew.
        """
        self._sent_through = 0
        self._in_doubt = in_doubt

    async def step(self, *, drain: bool) -> Sent:
        """Send what is stored and not sent; with nothing of that, seal what is due and send it.

        Raises:
            TransientError: Kafka or the disk fail for now; the next step goes on or sends again.
        """
        if self._in_doubt:
            await settled(self._give_up_former_key)
        packets = await settled(lambda: self._spool.live_packets(self._sent_through, _SEND_PACKETS))
        due: int | None = 0
        hold: Hold | None = None
        if not packets:
            packets, due, hold = await settled(lambda: self._seal(drain=drain))
        if packets:
            await self._send(packets)
        return Sent(len(packets), due, hold)

    def _give_up_former_key(self) -> None:
        """Take the records of unconfirmed packets for sealing anew where the site has another key by now.

        The former key may have ended before they arrived. Should one of them be admitted yet, the head tells.
        """
        first = self._spool.live_packets(0, 1)
        sealing = self._standing.agree(self._parts.clock.now_ms())
        if first and isinstance(sealing, Sealing):
            packet = parse_packet(first[0].raw)
            if isinstance(packet, Packet) and packet.site_key != sealing.signer.public.fingerprint:
                packets = self._spool.supersede()
                self._log.warning("signing_anew", packets=packets)
        self._in_doubt = False

    async def _send(self, packets: list[StoredPacket]) -> None:
        values = [avro.frame(PACKET_SCHEMA, packet.raw) for packet in packets]
        await self._parts.producer.send([Outgoing(self._parts.topic, value, self._key) for value in values])
        again = sum(packet.made.sequence <= self._highest for packet in packets)
        self._sent_through = packets[-1].made.sequence
        self._highest = max(self._highest, self._sent_through)
        site_metrics.SENT.labels(self._label).inc(len(packets) - again)
        site_metrics.RESENT.labels(self._label).inc(again)

    def _seal(self, *, drain: bool) -> tuple[list[StoredPacket], int | None, Hold | None]:
        room = min(_SEND_PACKETS, self._window - self._spool.depth().packets)
        packets: list[StoredPacket] = []
        while len(packets) < room:
            backlog = self._spool.backlog(self._batching.max_records)
            due = due_in_ms(backlog, self._batching, self._parts.clock.now_ms(), drain=drain)
            if due != 0:
                return packets, due, None
            # Asked for every packet: a key may end, or another be offered, between two of them.
            sealing = self._standing.agree(self._parts.clock.now_ms())
            if isinstance(sealing, Hold):
                return packets, None, sealing
            packets.append(self._seal_next(sealing))
        return packets, 0 if packets else None, None

    def _seal_next(self, sealing: Sealing) -> StoredPacket:
        terms = sealing.terms
        records = self._spool.waiting(self._batching.max_records)
        tip = self._spool.tip()
        sequence = tip.sequence + 1
        records = records[: fitting(terms, self._batching, sequence, records)]
        draft = PacketDraft(
            chain=terms.chain,
            site=terms.site,
            module_id=terms.module_id,
            sequence=sequence,
            previous=tip.previous,
            collected_from=min(record.time_ms for record in records),
            collected_to=max(record.time_ms for record in records),
            suite=terms.suite,
        )
        raw = seal_packet(
            draft,
            [record.data for record in records],
            terms.readers,
            sealing.signer,
            seed=self._parts.random(SEED_BYTES),
            content_key=self._parts.random(CONTENT_KEY_BYTES),
        )
        made = Made(
            sequence,
            packet_id(raw),
            tip.previous,
            records[0].record_id,
            records[-1].record_id,
            records[0].spooled_ms,
        )
        packet = StoredPacket(made, raw)
        self._spool.add_packet(packet)
        return packet
