"""What a floor is about: a really sealed packet, its records, its observations message, and the block that it is in."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pipeline.apps.bench.packets import SealingSite
from pipeline.apps.bench.plan import (
    PERIOD_MS,
    START_MS,
    BenchPlan,
    platform_key,
    sample_record,
    secret,
    site_name,
    site_signer,
)
from pipeline.core import avro
from pipeline.core.block import HEADER_VERSION, Entry, Header, Kind, LogSource, bytes_value, make_block
from pipeline.core.errors import IntegrityError
from pipeline.core.names import site_id_text
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.record import UnifiedRecord, encode_record
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.signing import Signer
from pipeline.core.state import START
from pipeline.core.storage import Content, KpiRecord, Observation, Place, Status, observations

_SITE: Final = 1
_URL: Final = "https://bench.bkdms.local/chain"
_CERTIFICATE_LINE_BYTES: Final = 3400
"""What the two cosignatures of a node take in a certificate."""


@dataclass(frozen=True)
class Shape:
    """A packet of ``values`` one-value records in a suite, and its block in a chain of ``nodes`` (1 or 4) nodes.

    Raises:
        ConfigError: more values than a packet takes, or another number of nodes.
    """

    values: int
    suite: Suite
    nodes: int = 1

    @cached_property
    def plan(self) -> BenchPlan:
        """The plan of a chain of such packets."""
        return BenchPlan(10**6, self.suite, self.values, sites=2, nodes=self.nodes, is_sealed=True)

    @property
    def packets_per_block(self) -> int:
        """Packets that share what is done once a block: as many as a block takes."""
        return self.plan.block_entries

    @property
    def quorum(self) -> int:
        """How many nodes certify a block."""
        return self.plan.quorum

    @property
    def signer(self) -> Signer:
        """The site's signing key."""
        return site_signer(_SITE, self.suite)

    @property
    def platform(self) -> SealingKey:
        """The platform's key for the site."""
        return platform_key(_SITE, self.suite)

    @cached_property
    def packet(self) -> Packet:
        """The packet, sealed and signed as a site does it."""
        site = SealingSite(_SITE, self.plan, secret("floor"), START)
        packet = parse_packet(site.packet(0))
        if not isinstance(packet, Packet):
            raise IntegrityError("a packet that was just made is not good")
        return packet

    @cached_property
    def records(self) -> list[UnifiedRecord]:
        """Its records, each of a value and a time of its own."""
        name = site_name(_SITE)
        return [sample_record(name, START_MS + 1000 * number, number) for number in range(self.values)]

    @cached_property
    def record_bytes(self) -> list[bytes]:
        """Its records as they are hashed and encrypted."""
        return [encode_record(record) for record in self.records]

    @cached_property
    def observations(self) -> list[Observation]:
        """What the platform stores of it."""
        return observations(self.records)

    @cached_property
    def stored(self) -> KpiRecord:
        """The packet as the platform stores it."""
        content = Content(Status.OK, "", secret("seed"), tuple(self.records))
        place = Place(0, len(self.packet.raw))
        raw, code = self.packet.raw, self.message["tracing_code"]
        return KpiRecord(
            code, 1, 0, place, place, raw, _URL, secret("check"), self.packet, 0, START_MS, content
        )

    @cached_property
    def message(self) -> dict[str, Any]:
        """The observations message that the platform sends of it, as the schema names its fields."""
        site = site_name(_SITE)
        place = {"country": site.country, "city": site.city, "site_id": site_id_text(site.site_id)}
        rows = [
            place
            | {
                "time": each.time_ms,
                "record": each.record,
                "number": each.number,
                "indicator": each.indicator,
                "data_point": each.data_point,
                "exact": each.exact,
                "value": each.value,
                "unit": each.unit,
                "sensor": each.sensor,
                "quality": each.quality,
                "source": each.source,
            }
            for each in self.observations
        ]
        numbers = {"height": 1, "admitted": START_MS, "sequence": 1}
        texts = {"chain_id": _URL, "tracing_code": "5K2V0Q8D-1-1-7", "module_id": "bench-1"}
        return place | numbers | texts | {"observations": rows}

    @cached_property
    def block(self) -> bytes:
        """A full block of such packets with its certificate, encoded."""
        raw = self.packet.raw
        entries = [Entry(Kind.PACKET, number, START_MS, raw) for number in range(self.packets_per_block)]
        source = LogSource(0, "kpi.chain.v1", 0, 0, len(entries))
        header = Header(
            HEADER_VERSION,
            1,
            secret("floor"),
            _URL,
            1,
            START_MS,
            START_MS + PERIOD_MS,
            0,
            secret("previous"),
            0,
            len(entries),
            secret("root"),
            source,
            secret("log"),
            secret("contract"),
        )
        certificate = secret("certificate", 200 + _CERTIFICATE_LINE_BYTES * self.quorum)
        return make_block(header, entries).encoded + bytes_value(certificate)

    @property
    def row_array(self) -> bytes:
        """The array of encoded records as it is inside the ciphertext, without padding."""
        size = avro.long_bytes(self.values)
        return size + b"".join(map(bytes_value, self.record_bytes)) + b"\0"
