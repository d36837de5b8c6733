"""The site's spool: durable, encrypted, one site's, and never half-changed."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.spool import SqliteSpool, load_spool_key, read_receipt
from pipeline.core.delivery import (
    Confirms,
    Made,
    NewRecord,
    StoredPacket,
    StoredReceipt,
    Tip,
    VerifiedHead,
    after_head,
)
from pipeline.core.errors import BkdmsError, ConfigError, ConflictError, IntegrityError, TransientError
from tests.support.keys import key_files, sealer
from tests.support.world import NOW_MS

KEY = bytes(range(32))
BINDING = b"chain and site"
SECRET = b"PLAIN-VALUE-20.75-GAUGE"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SqliteSpool]:
    opened = SqliteSpool(tmp_path / "spool.sqlite", KEY, BINDING)
    yield opened
    opened.close()


def reopened(spool: SqliteSpool, tmp_path: Path) -> SqliteSpool:
    spool.close()
    return SqliteSpool(tmp_path / "spool.sqlite", KEY, BINDING)


def new(*texts: bytes) -> list[NewRecord]:
    return [NewRecord(NOW_MS + i, text) for i, text in enumerate(texts)]


def packet(sequence: int, tip: Tip, last: int) -> StoredPacket:
    made = Made(sequence, bytes([sequence]) * 32, tip.previous, tip.last_record + 1, last, NOW_MS)
    return StoredPacket(made, b"packet bytes %d" % sequence)


def confirm(spool: SqliteSpool, sequence: int) -> Confirms:
    head = VerifiedHead(sequence, bytes([sequence]) * 32, 1, 10 * sequence, bytes(32))
    verdict = after_head(spool.receipt(), spool.made(), head)
    assert isinstance(verdict, Confirms)
    raw = spool.packet(head.packet_id)
    assert raw is not None
    spool.confirm(StoredReceipt(head, verdict.last.last_record, NOW_MS, raw, b"document"), verdict)
    return verdict


def test_records_come_back_in_order_after_reopening(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a", b"b"), "row 2", {}, NOW_MS)
    spool.append(new(b"c"), "row 3", {}, NOW_MS + 1)
    spool = reopened(spool, tmp_path)
    found = spool.waiting(10)
    assert [(r.record_id, r.data, r.spooled_ms) for r in found] == [
        (1, b"a", NOW_MS),
        (2, b"b", NOW_MS),
        (3, b"c", NOW_MS + 1),
    ]
    assert [r.time_ms for r in found] == [NOW_MS, NOW_MS + 1, NOW_MS]
    assert spool.position() == "row 3"


def test_a_failed_append_keeps_neither_records_nor_position(spool: SqliteSpool) -> None:
    spool.append(new(b"a"), "row 1", {"bad_time": 1}, NOW_MS)
    with pytest.raises(OverflowError):
        spool.append([NewRecord(0, b"b"), NewRecord(-1, b"c")], "row 3", {"bad_time": 2}, NOW_MS)
    assert [r.data for r in spool.waiting(10)] == [b"a"]
    assert spool.position() == "row 1"
    assert spool.totals().rejected == {"bad_time": 1}


def test_no_file_of_the_spool_holds_a_plain_value_or_position(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(*[SECRET] * 50), "POSITION-" + SECRET.decode(), {}, NOW_MS)
    files = sorted(tmp_path.glob("spool.sqlite*"))
    assert len(files) >= 3
    spool.add_packet(packet(1, spool.tip(), 50))
    confirm(spool, 1)
    for content in (path.read_bytes() for path in files):
        assert SECRET not in content
        assert SECRET[:11] not in content


def test_files_of_the_spool_are_closed_to_other_users(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a"), "1", {}, NOW_MS)
    for path in tmp_path.glob("spool.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_equal_records_have_different_cells(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"same", b"same"), "2", {}, NOW_MS)
    spool.close()
    with sqlite3.connect(tmp_path / "spool.sqlite") as database:
        cells = [row[0] for row in database.execute("SELECT cell FROM records")]
    assert len({cell[:12] for cell in cells}) == len({cell[12:] for cell in cells}) == 2


def test_a_cell_moved_to_another_row_is_refused(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a", b"b"), "2", {}, NOW_MS)
    spool.close()
    with sqlite3.connect(tmp_path / "spool.sqlite") as database:
        database.execute("UPDATE records SET cell = (SELECT cell FROM records WHERE record_id = 2)")
    again = SqliteSpool(tmp_path / "spool.sqlite", KEY, BINDING)
    with pytest.raises(IntegrityError) as refused:
        again.waiting(10)
    assert refused.value.code == "spool_cell"
    again.close()


def refusal(tmp_path: Path, key: bytes = KEY, binding: bytes = BINDING) -> BkdmsError:
    with pytest.raises(ConfigError) as refused:
        SqliteSpool(tmp_path / "spool.sqlite", key, binding)
    return refused.value


def test_a_spool_serves_one_program_at_a_time(spool: SqliteSpool, tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "spool_in_use"
    reopened(spool, tmp_path).close()


def test_a_spool_serves_its_own_site_and_key_only(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.close()
    assert refusal(tmp_path, key=bytes(32)).code == "spool_key"
    assert refusal(tmp_path, binding=b"another site").code == "spool_site"


def test_damage_to_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"not a database at all" * 400)
    with pytest.raises(IntegrityError) as refused:
        SqliteSpool(tmp_path / "spool.sqlite", KEY, BINDING)
    assert refused.value.code == "spool_damaged"


def test_a_full_disk_is_a_passing_fault_and_changes_nothing(spool: SqliteSpool) -> None:
    spool.append(new(b"a"), "1", {}, NOW_MS)
    database = spool._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TransientError) as failed:
        spool.append(new(bytes(100_000)), "2", {}, NOW_MS)
    assert failed.value.code == "spool_disk"
    assert (spool.position(), spool.totals().spooled_records) == ("1", 1)
    database.execute("PRAGMA max_page_count = 100000")
    spool.append(new(bytes(100_000)), "2", {}, NOW_MS)
    assert spool.position() == "2"


def test_every_commit_is_synchronised_to_the_disk(spool: SqliteSpool) -> None:
    assert spool._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_packets_go_on_from_the_tip_and_nowhere_else(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a", b"b", b"c"), "3", {}, NOW_MS)
    first = packet(1, spool.tip(), 2)
    spool.add_packet(first)
    spool = reopened(spool, tmp_path)
    assert spool.tip() == Tip(1, first.made.packet_id, 2)
    for wrong in (packet(1, spool.tip(), 3), packet(2, Tip(), 3), packet(2, Tip(1, bytes(32), 2), 3)):
        with pytest.raises(ConflictError):
            spool.add_packet(wrong)
    spool.add_packet(packet(2, spool.tip(), 3))
    assert [p.raw for p in spool.live_packets(0, 9)] == [b"packet bytes 1", b"packet bytes 2"]
    assert [p.made.sequence for p in spool.live_packets(1, 9)] == [2]
    assert spool.waiting(9) == []
    spool.close()


def test_confirming_forgets_exactly_what_is_committed(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a", b"b", b"c", b"d"), "4", {}, NOW_MS)
    for sequence, last in ((1, 1), (2, 3), (3, 4)):
        spool.add_packet(packet(sequence, spool.tip(), last))
    confirm(spool, 2)
    spool = reopened(spool, tmp_path)
    assert [made.sequence for made in spool.made()] == [3]
    assert spool.depth().records == 1
    assert spool.packet(bytes([2]) * 32) == b"packet bytes 2"
    assert spool.packet(bytes([1]) * 32) is None
    assert (spool.totals().confirmed_records, spool.totals().confirmed_packets) == (3, 2)
    confirm(spool, 3)
    assert spool.tip() == Tip(3, bytes([3]) * 32, 4)
    assert (spool.depth().records, spool.depth().packets, spool.depth().oldest_ms) == (0, 0, None)
    receipt = read_receipt(tmp_path / "spool.sqlite")
    assert receipt is not None
    assert (receipt.head.sequence, receipt.document) == (3, b"document")
    spool.close()


def test_record_numbers_and_sequences_are_never_used_twice(spool: SqliteSpool, tmp_path: Path) -> None:
    spool.append(new(b"a"), "1", {}, NOW_MS)
    spool.add_packet(packet(1, spool.tip(), 1))
    confirm(spool, 1)
    spool = reopened(spool, tmp_path)
    spool.append(new(b"b"), "2", {}, NOW_MS)
    assert [r.record_id for r in spool.waiting(9)] == [2]
    spool.add_packet(packet(2, spool.tip(), 2))
    spool.supersede()
    assert spool.tip() == Tip(2, bytes([1]) * 32, 1)
    assert spool.live_packets(0, 9) == []
    assert [r.data for r in spool.waiting(9)] == [b"b"]
    spool.close()


def test_confirmed_records_make_room(spool: SqliteSpool) -> None:
    spool.append(new(*[bytes(2000)] * 500), "1", {}, NOW_MS)
    before = spool.depth().used_bytes
    spool.add_packet(packet(1, spool.tip(), 500))
    confirm(spool, 1)
    assert before > 1_000_000
    assert spool.depth().used_bytes < before // 10


def test_the_spool_key_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path, spool = tmp_path / "keys" / "spool.key", tmp_path / "data" / "spool.sqlite"
    files = key_files(tmp_path)
    key = load_spool_key(path, spool, files)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key not in path.read_bytes()
    assert load_spool_key(path, spool, key_files(tmp_path)) == key


def test_bad_spool_keys_are_refused_with_a_remedy(tmp_path: Path) -> None:
    spool, files = tmp_path / "data" / "spool.sqlite", KeyFiles(sealer(tmp_path), plain=lambda _: None)
    with pytest.raises(ConfigError, match="another folder"):
        load_spool_key(spool.with_name("spool.key"), spool, files)
    spool.parent.mkdir()
    spool.touch()
    path = tmp_path / "keys" / "spool.key"
    with pytest.raises(ConfigError, match="is missing"):
        load_spool_key(path, spool, files)
    path.parent.mkdir()
    path.write_bytes(bytes(31))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="31 bytes"):
        load_spool_key(path, spool, files)
    path.write_bytes(bytes(32))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_spool_key(path, spool, files)


def test_records_of_an_append_that_failed_are_never_given_out(
    spool: SqliteSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given out from memory is on the disk, whatever happened to the readings before and between."""
    spool.append(new(b"a"), "1", {}, NOW_MS)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "_database", RefusingCommits(spool._database))
        with pytest.raises(TransientError):
            spool.append(new(b"lost"), "2", {}, NOW_MS)
    assert [record.data for record in spool.waiting(10)] == [b"a"]
    spool.append(new(b"b", b"c"), "2", {}, NOW_MS)
    assert [(r.record_id, r.data) for r in spool.waiting(10)] == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_memory_and_disk_give_out_the_same_records(spool: SqliteSpool, tmp_path: Path) -> None:
    for number in range(3):
        spool.append(new(*(b"%d-%d" % (number, i) for i in range(1000))), str(number), {}, NOW_MS + number)
    remembered = spool.waiting(4000)
    spool.add_packet(packet(1, spool.tip(), 2500))
    later = spool.waiting(300)
    again = reopened(spool, tmp_path)
    try:
        assert again.waiting(300) == later == remembered[2500:2800]
    finally:
        again.close()


class RefusingCommits:
    """A database that rolls back where it should commit."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """Pass a statement on, but refuse a commit."""
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._database.execute(statement, *values)
