"""A site that wants to reads the packets that it sealed, with a key of its own; nobody else can, and nothing else."""

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.keystore import new_sealing_key, save_key
from pipeline.adapters.reading_keys import ReadingKeys
from pipeline.adapters.spool import SqliteSpool
from pipeline.adapters.vault import KeyVault
from pipeline.apps.cli import main
from pipeline.apps.keys import reading_keys
from pipeline.apps.site_agent import own_readers
from pipeline.config import load_settings
from pipeline.core.batching import Batching, largest_record
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import site_id_text
from pipeline.core.own_packet import NO_KEY, open_own
from pipeline.core.packet import MAX_PACKET_BYTES, Packet, PacketDraft, parse_packet, seal_packet
from pipeline.core.sealing import SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.services.site_agent import Pace, Retry, SiteAgent, SiteStanding
from tests.support.keys import sealer
from tests.support.proofs import exported
from tests.support.site_ledger import ListSource, SiteLedger, entitled, ledger_with, parts_of, terms_of
from tests.support.tiles import exported_files
from tests.support.world import NOW_MS, secret

NUMBERS = [11, 22, 33]
KEY = bytes(32)


def keys_in(folder: Path) -> ReadingKeys:
    return ReadingKeys(KeyVault(folder / "reading", folder / "generations", sealer(folder), use=Use.READER))


def packets(ledger: SiteLedger) -> list[Packet]:
    found = [parse_packet(value[5:]) for value in ledger.sent]
    return [packet for packet in found if isinstance(packet, Packet)]


class Place:
    """A site's machine, its settings, and the ledger that it sends to."""

    def __init__(self, folder: Path, *, read_own: bool = True) -> None:
        self.folder = folder
        self.ledger, self.site = ledger_with()
        self.ledger.commits_when_asked = True
        (folder / "genesis.json").write_bytes(self.ledger.chain.world.genesis.raw)
        assert isinstance(self.site.signer, Ed25519Signer)
        save_key(folder / "key.json", self.site.signer)
        self.file = folder / "bkdms.toml"
        self.file.write_text(
            f'genesis = "genesis.json"\n[site]\ncountry = "{self.site.name.country}"\n'
            f'city = "{self.site.name.city}"\nsite_id = "{site_id_text(self.site.name.site_id)}"\n'
            'spool = "spool.sqlite"\nkey = "key.json"\nreading_keys = "reading"\n'
            f"read_own = {str(read_own).lower()}\n"
        )

    @property
    def reading(self) -> ReadingKeys:
        return reading_keys(load_settings(self.file))

    def deliver(self, *, is_cut_off: bool = False) -> None:
        """Send and confirm the numbers in packets of one record, by an agent as the settings make it."""
        spool = SqliteSpool(self.folder / "spool.sqlite", KEY, terms_of(self.site).binding)
        numbers: list[int | None] = [*NUMBERS]
        parts = parts_of(self.site, self.ledger, spool, ListSource(numbers))
        standing = SiteStanding(
            parts.genesis,
            parts.terms,
            entitled(self.site),
            (self.site.signer,),
            spool,
            own_readers=own_readers(load_settings(self.file), self.site.signer),
        )
        self.ledger.kafka_away = is_cut_off
        pace = Pace(Batching(max_records=1), head_poll_s=0.01)
        agent = SiteAgent(replace(parts, standing=standing), Retry(0.01, 0.02, lambda delay: delay), pace)

        async def run() -> None:
            task = asyncio.create_task(agent.run(until_committed=True))
            while not task.done() and not (is_cut_off and spool.depth().packets == len(NUMBERS)):
                await asyncio.sleep(0.01)
            if is_cut_off:
                task.cancel()
            await asyncio.gather(task, return_exceptions=is_cut_off)

        asyncio.run(run())
        spool.close()

    def export(self) -> Path:
        """Export the ledger, and return the folder of its tiles."""
        exported(self.ledger.chain, self.site, self.site, self.folder / "tiles")
        return self.folder / "tiles"

    def run(self, *arguments: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.file), "site", *map(str, arguments)])
        return ended.value.code if isinstance(ended.value.code, int) else 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def values_in(document: dict[str, Any]) -> list[int]:
    """The numbers in opened packets, in hundredths as they went in."""
    return [
        round(100 * float(value["exact"]))
        for packet in document["packets"]
        for record in packet["records"]
        for value in record["values"]
    ]


def test_packets_sealed_to_the_site_too_are_admitted_and_opened_by_site_and_platform(place: Place) -> None:
    place.deliver()
    assert place.ledger.committed(place.site) == NUMBERS
    keys = place.reading
    opened = [open_own(packet, keys.get) for packet in packets(place.ledger)]
    assert [len(records) for records in opened] == [1, 1, 1]
    assert {len(packet.recipients) for packet in packets(place.ledger)} == {2}


def test_without_the_setting_a_packet_is_sealed_to_the_platform_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, read_own=False)
    place.deliver()
    assert {len(packet.recipients) for packet in packets(place.ledger)} == {1}
    assert not (tmp_path / "reading").exists()
    assert open_own(packets(place.ledger)[0], place.reading.get) == NO_KEY


def test_reading_keys_are_there_for_every_suite_that_the_site_may_be_taken_to(place: Place) -> None:
    settings = load_settings(place.file)
    made = own_readers(settings, place.site.signer)
    assert set(made) == {Algorithm.X25519, Algorithm.XWING}
    assert {key.use for key in made.values()} == {Use.READER}
    assert own_readers(settings, place.site.signer) == made


def test_the_largest_record_fits_beside_two_readers_whatever_the_suite() -> None:
    ledger, site = ledger_with()
    terms = terms_of(site)
    record = bytes(largest_record(terms))
    for suite in (Suite.XWING, Suite.LIGHT):
        readers = [
            new_sealing_key(SEALING_ALGORITHM[suite], use=use).public for use in (Use.PLATFORM, Use.READER)
        ]
        draft = PacketDraft(site.chain, site.name, terms.module_id, 2**62, bytes(32), NOW_MS, NOW_MS, suite)
        raw = seal_packet(draft, [record], readers, site.signer, seed=secret("s"), content_key=secret("c"))
        assert len(raw) <= MAX_PACKET_BYTES
    del ledger


def test_new_keys_come_into_force_and_those_before_go_on_opening(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    (first,) = keys.in_force_or_new([Algorithm.X25519])
    (second,) = keys.renew([Algorithm.X25519])
    assert keys_in(tmp_path).in_force_or_new([Algorithm.X25519]) == [second]
    assert keys_in(tmp_path).get(first.fingerprint) is not None
    assert first != second


def test_a_key_in_force_is_not_destroyed_and_another_is_for_good(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    (first,) = keys.in_force_or_new([Algorithm.X25519])
    with pytest.raises(ConfigError, match="is in force"):
        keys.destroy(first.fingerprint, NOW_MS)
    before = {path: path.read_bytes() for path in (tmp_path / "reading").glob("*.wrapped")}
    (second,) = keys.renew([Algorithm.X25519])
    keys.destroy(first.fingerprint, NOW_MS)
    assert keys_in(tmp_path).get(first.fingerprint) is None
    for path, content in before.items():  # an older copy of the folder is put back
        path.write_bytes(content)
        path.chmod(0o600)
    assert keys_in(tmp_path).get(first.fingerprint) is None
    assert keys_in(tmp_path).get(second.fingerprint) is not None


def test_a_platform_key_in_the_folder_is_no_reading_key(tmp_path: Path) -> None:
    """Whoever can write the folder can't have packets sealed to a key that the vault does not vouch for."""
    keys = keys_in(tmp_path)
    (mine,) = keys.in_force_or_new([Algorithm.X25519])
    strange = KeyVault(tmp_path / "other", tmp_path / "generations", sealer(tmp_path), use=Use.READER)
    theirs = new_sealing_key(Algorithm.X25519, use=Use.READER)
    strange.add(theirs)
    name = f"{theirs.public.fingerprint.hex()}.wrapped"
    (tmp_path / "reading" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    (tmp_path / "reading" / name).chmod(0o600)
    named = tmp_path / "reading" / "in-force.json"
    named.write_text(named.read_text().replace(mine.fingerprint.hex(), theirs.public.fingerprint.hex()))
    with pytest.raises(ConfigError, match="of another vault"):
        keys_in(tmp_path).in_force_or_new([Algorithm.X25519])


def test_a_damaged_list_of_keys_in_force_says_what_to_do(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    keys.in_force_or_new([Algorithm.X25519])
    (tmp_path / "reading" / "in-force.json").write_text("{}")
    with pytest.raises(ConfigError, match="remove it"):
        keys.in_force()


def test_a_committed_packet_is_opened_by_its_tracing_code(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.deliver()
    tiles = place.export()
    assert place.run("verify", "--history", "--tiles", tiles, "--json") == 0
    history = json.loads(capsys.readouterr().out)["history"]
    assert (history["packets"], history["records"], history["opened"]) == (3, 3, 3)
    assert place.run("open", "--code", history["last"], "--tiles", tiles, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert values_in(shown) == [NUMBERS[-1]]
    assert shown["packets"][0]["place"] == history["last"]


def test_the_receipt_and_a_packet_are_opened_from_files(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.deliver()
    receipt, raw = place.folder / "receipt.json", place.folder / "packet"
    raw.write_bytes(packets(place.ledger)[0].raw)
    assert place.run("verify", "-o", receipt, "--json") == 0
    capsys.readouterr()
    for file, number in ((receipt, NUMBERS[-1]), (raw, NUMBERS[0])):
        assert place.run("open", file, "--json") == 0
        assert values_in(json.loads(capsys.readouterr().out)) == [number]


def test_what_waits_in_the_spool_is_opened_without_the_ledger(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.deliver(is_cut_off=True)
    assert place.run("open", "--spool") == 0
    shown = capsys.readouterr().out
    assert [f"= {number / 100:.2f} " in shown for number in NUMBERS] == [True, True, True]
    assert place.run("verify") == 0


def test_a_packet_that_the_site_did_not_sign_is_not_opened_though_it_is_sealed_to_its_key(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever learns the public half of a reading key could make a packet that opens."""
    reader = own_readers(load_settings(place.file), place.site.signer)[Algorithm.X25519]
    forger = Ed25519Signer(secret("forger"), Use.SITE)
    draft = PacketDraft(
        place.site.chain, place.site.name, "m", 1, bytes(32), NOW_MS, NOW_MS, place.site.suite
    )
    forged = seal_packet(
        draft, [place.site.record(99)], [reader], forger, seed=secret("s"), content_key=secret("c")
    )
    (place.folder / "forged").write_bytes(forged)
    assert place.run("open", place.folder / "forged") == 1
    told = capsys.readouterr()
    assert "was not signed with a key that is here" in told.err
    assert told.out == ""


def test_a_packet_that_names_the_site_key_with_another_signature_is_not_opened(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.deliver()
    raw = packets(place.ledger)[0].raw
    (place.folder / "forged").write_bytes(raw[:-64] + bytes(64))
    assert place.run("open", place.folder / "forged") == 1
    assert capsys.readouterr().out == ""


def test_a_packet_of_another_site_is_not_opened(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    other = place.ledger.chain.world.site(2)
    place.ledger.chain.enrol(other)
    place.ledger.chain.packets(other.packet([5]))
    code = exported(place.ledger.chain, place.site, other, place.folder / "t").code(3, 0)
    assert place.run("open", "--code", code, "--tiles", place.folder / "t") == 1
    assert "not of" in capsys.readouterr().err


def test_a_packet_sealed_before_reading_was_on_stays_closed_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, read_own=False)
    place.deliver(is_cut_off=True)
    assert place.run("open", "--spool") == 1
    assert "sealed to no reading key that is here" in capsys.readouterr().err


def test_a_packet_under_the_site_name_that_its_receipt_does_not_know_is_named_by_the_history(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ledger that is exported is another one than the receipt is from: rewritten with all keys."""
    place.deliver()
    ledger, site = ledger_with()
    site.sequence, site.previous = 0, bytes(32)
    ledger.chain.packets(*(site.packet([number]) for number in (1, 2, 3)))
    exported(ledger.chain, site, site, place.folder / "rewritten")
    assert place.run("verify", "--history", "--tiles", place.folder / "rewritten") == 1
    assert "it was rewritten" in capsys.readouterr().err


def test_a_spool_whose_packets_do_not_go_on_from_the_receipt_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.deliver(is_cut_off=True)
    with sqlite3.connect(place.folder / "spool.sqlite") as database:
        database.execute("DELETE FROM packets WHERE sequence = 2")
    assert place.run("verify") == 1
    assert "does not go on" in capsys.readouterr().err


def test_keys_are_listed_renewed_and_destroyed_by_command(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {
        key.fingerprint.hex() for key in own_readers(load_settings(place.file), place.site.signer).values()
    }
    assert place.run("reading-keys", "--new", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["keys"]
    assert {row["key"] for row in rows if not row["in_force"]} == old
    assert place.run("reading-keys", "--destroy", next(iter(old)), "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["keys"]) == len(rows) - 1
    assert place.run("reading-keys", "--destroy", "xyz") == 2


def test_the_exported_log_and_the_spool_hold_no_plain_value(place: Place) -> None:
    place.deliver()
    place.export()
    plain = place.site.record(NUMBERS[0])[-24:]
    for file in [*exported_files(place.folder / "tiles"), "spool.sqlite"]:
        path = place.folder / "tiles" / file if file != "spool.sqlite" else place.folder / file
        assert plain not in path.read_bytes()


def test_a_reading_key_shows_no_secret(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    (public,) = keys.in_force_or_new([Algorithm.X25519])
    key = keys.get(public.fingerprint)
    assert isinstance(key, SealingKey)
    assert key.secret.hex() not in repr(key)
    for path in (tmp_path / "reading").iterdir():
        assert key.secret.hex().encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_one_source_is_named_at_a_time(place: Place) -> None:
    assert place.run("open") == 2
    assert place.run("open", "--spool", "--code", "X") == 2
