"""A site verifies its whole history from an exported log, and a log that hides, adds or rewrites something is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.core.delivery import VerifiedHead
from pipeline.core.merkle import root_of
from pipeline.core.packet import parse_packet
from pipeline.core.tiles import ENTRIES, TileId
from pipeline.services.site_history import FoundPacket, History, SiteHistory
from pipeline.services.tile_reader import Read
from tests.support.chain import Chain
from tests.support.proofs import ExportedChain
from tests.support.proofs import exported as exported_chain
from tests.support.world import TestSite


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedChain:
    """The first site has six packets in three blocks, the second so many that there are several bundles."""
    chain = Chain()
    first, second = chain.world.site(1), chain.world.site(2)
    chain.enrol(first, second)
    chain.packets(*(first.packet([1, 2]) for _ in range(4)))
    chain.packets(*(second.packet([1]) for _ in range(280)), first.packet([5]))
    chain.packets(second.packet([1]), first.packet([6]), second.packet([1]))
    return exported_chain(chain, first, second, tmp_path_factory.mktemp("history"))


def head_of(exported: ExportedChain, site: TestSite, height: int, **changes: object) -> VerifiedHead:
    """What the site's receipt proved after a block."""
    derived = exported.chain.blocks[height - 1]
    leaves = [leaf for item in exported.chain.blocks[:height] for leaf in item.block.leaf_hashes]
    held = {
        "sequence": site.sequence,
        "packet_id": site.previous,
        "height": height,
        "tree_size": derived.block.header.tree_size,
        "root": root_of(leaves),
    }
    return VerifiedHead(**(held | changes))  # type: ignore[arg-type]


def verified(
    exported: ExportedChain,
    site: TestSite,
    head: VerifiedHead | None,
    read: Read | None = None,
    see: Callable[[FoundPacket], None] = lambda _found: None,
) -> History:
    return SiteHistory(exported.prover(read), site.name, see).verify(head)


def test_every_packet_of_the_site_is_found_and_proven_and_none_of_another(exported: ExportedChain) -> None:
    seen: list[FoundPacket] = []
    site = exported.first
    history = verified(exported, site, head_of(exported, site, 4), see=seen.append)
    assert history.problem is None
    assert (history.packets, history.records) == (6, 4 * 2 + 1 + 1)
    assert [found.packet.sequence for found in seen] == list(range(6, 0, -1))
    assert (history.first, history.last) == (seen[-1].code, seen[0].code)
    assert {found.packet.site for found in seen} == {site.name}


def test_a_site_without_a_receipt_verifies_what_is_there(exported: ExportedChain) -> None:
    assert verified(exported, exported.first, None).packets == 6


def test_a_log_that_ends_before_the_receipt_is_said_to_be_behind(exported: ExportedChain) -> None:
    site = exported.first
    size = exported.chain.blocks[-1].block.header.tree_size + 7
    history = verified(exported, site, head_of(exported, site, 4, tree_size=size))
    assert history.is_behind
    assert history.problem is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"root": bytes(32)}, "it was rewritten"),
        ({"sequence": 999}, "proves packet 999"),
        ({"packet_id": bytes(32)}, "another packet of this sequence"),
    ],
)
def test_a_log_that_contradicts_the_receipt_is_named(
    exported: ExportedChain, changes: dict[str, object], problem: str
) -> None:
    history = verified(exported, exported.first, head_of(exported, exported.first, 4, **changes))
    assert problem in str(history.problem)


def test_a_site_whose_receipt_proves_packets_finds_none(exported: ExportedChain) -> None:
    stranger = exported.world.site(9)
    head = head_of(exported, stranger, 4, sequence=1)
    assert "holds no packet of this site" in str(verified(exported, stranger, head).problem)


def changed(exported: ExportedChain, change: Callable[[bytes], bytes]) -> Read:
    """A log whose last bundle of entries is changed on the way."""
    size = exported.chain.blocks[-1].block.header.tree_size
    files, last = TileFiles(exported.folder), TileId(ENTRIES, size // 256, size % 256).path
    return lambda path: change(files.read(path)) if path == last else files.read(path)


def test_a_packet_that_is_hidden_from_the_entries_is_noticed(exported: ExportedChain) -> None:
    """The newest packet of the site is taken for one of somebody else's, which no link of its own chain shows."""
    site = exported.first
    marker = site.name.city.encode() + site.name.site_id
    other = site.name.city.encode() + bytes(16)

    def hide(data: bytes) -> bytes:
        place = data.rfind(marker)
        return data[:place] + other + data[place + len(other) :]

    history = verified(exported, site, None, changed(exported, hide))
    assert history.problem is not None
    assert history.packets < 6


def test_entries_that_do_not_hash_to_the_root_are_noticed_though_no_packet_of_ours_is_touched(
    exported: ExportedChain,
) -> None:
    def damage(data: bytes) -> bytes:
        place = data.find(exported.second.name.site_id) + 200
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    history = verified(exported, exported.first, None, changed(exported, damage))
    assert "do not hash to its certified root" in str(history.problem)


def test_a_missing_file_is_named(exported: ExportedChain) -> None:
    history = verified(exported, exported.first, None, changed(exported, lambda _data: b""))
    assert "tile/entries" in str(history.problem)


def test_a_packet_left_out_of_the_chain_of_packets_is_noticed(
    exported: ExportedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is blind for one packet, as if nodes had dropped it from the ledger."""
    victim = exported.chain.blocks[1].block.entries[2].payload
    monkeypatch.setattr(
        "pipeline.services.site_history.parse_packet",
        lambda data: None if data == victim else parse_packet(data),
    )
    history = verified(exported, exported.first, None)
    assert "does not name this one as the one before" in str(history.problem)


def test_the_folder_is_only_read(exported: ExportedChain) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(exported.folder).rglob("*")}
    verified(exported, exported.first, None)
    assert {path: path.stat().st_mtime_ns for path in Path(exported.folder).rglob("*")} == before
