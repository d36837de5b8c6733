"""The API: what it answers is small, strict, free of plain values, and can be verified offline."""

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.tls.principal import Principal, Role
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.adapters.sql.view_tables import VIEW
from pipeline.core.checkpoint import parse_checkpoint
from pipeline.core.errors import ConfigError
from pipeline.core.merkle import is_included
from pipeline.core.names import SiteName, site_id_text
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.site_head import ReceiptProblem, SiteHeadDocument, parse_site_head
from pipeline.core.tracing import TracingCode
from schemas import ids
from tests.support.api import ApiCase
from tests.support.chain import Chain, framed
from tests.support.sql_faults import CrashError, all_rows, crash_at
from tests.support.world import TestSite, World, control_value, packet_value, site_name


class Case(ApiCase):
    """Two sites with packets, one without, and a grant in the middle."""

    def __init__(self, folder: Path) -> None:
        chain = Chain()
        self.sites: list[TestSite] = [chain.world.site(i) for i in (1, 2, 3)]
        chain.enrol(*self.sites)
        self.packets = {site.name: [site.packet([value]) for value in (1, 2)] for site in self.sites[:2]}
        (first, second), others = self.packets[self.sites[0].name], self.packets[self.sites[1].name]
        chain.block(packet_value(first), control_value(chain.world.backfill(self.sites[0], 0, 1)))
        chain.packets(*others, second)
        super().__init__(folder, chain)

    @property
    def last(self) -> bytes:
        return self.packets[self.sites[0].name][-1]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path / "api")
    yield made
    made.close()


def place(name: SiteName) -> str:
    return f"/v1/sites/{name.country}/{name.city}/{site_id_text(name.site_id)}/head"


async def get(case: ApiCase, path: str, status: int = 200) -> Any:
    async with case.client() as client:
        answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def head(case: ApiCase, name: SiteName, query: str = "") -> SiteHeadDocument:
    async with case.client() as client:
        answer = await client.get(place(name) + query)
    assert answer.status_code == 200, answer.text
    document = parse_site_head(answer.content)
    assert isinstance(document, SiteHeadDocument)
    return document


async def test_a_site_verifies_its_head_with_its_own_packet(case: Case) -> None:
    await case.catch_up()
    document = await head(case, case.sites[0].name)
    receipt = verify_head(case.chain.world.genesis, case.last, document)
    assert isinstance(receipt, Receipt), receipt
    assert (receipt.sequence, receipt.tracing_code[1:]) == (2, (3, 2))
    assert [offer.epoch for offer in receipt.key_offers] == [1]


async def test_an_enrolled_site_without_packets_verifies_its_enrolment(case: Case) -> None:
    await case.catch_up()
    receipt = verify_head(case.chain.world.genesis, None, await head(case, case.sites[2].name))
    assert isinstance(receipt, Receipt), receipt
    assert (receipt.sequence, receipt.site_key) == (0, case.sites[2].signer.public)


async def test_a_site_that_lost_its_packets_gets_the_last_one_on_demand(case: Case) -> None:
    await case.catch_up()
    document = await head(case, case.sites[0].name, "?packet=true")
    assert document.head.payload == case.last
    assert isinstance(verify_head(case.chain.world.genesis, None, document), Receipt)
    bare = verify_head(case.chain.world.genesis, None, await head(case, case.sites[0].name))
    assert isinstance(bare, ReceiptProblem)


async def test_every_head_stays_provable_while_the_chain_grows(case: Case) -> None:
    await case.catch_up()
    site = case.sites[0]
    for value in range(12):
        raw = site.packet([value])
        case.chain.packets(raw, *(case.sites[1].packet([value]) for _ in range(value % 3)))
        await case.catch_up()
        receipt = verify_head(case.chain.world.genesis, raw, await head(case, site.name))
        assert isinstance(receipt, Receipt), receipt


async def test_an_unknown_site_is_not_found_and_told_so(case: Case) -> None:
    await case.catch_up()
    body = await get(case, place(site_name(99)), 404)
    assert body["error"] == "unknown_site"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/sites/us/c/::1/head", "site"),
        ("/v1/sites/US/a%20b/::1/head", "site"),
        ("/v1/sites/US/c/not-an-address/head", "site_id"),
        ("/v1/sites/US/c/::1/head?packt=true", "parameter"),
        ("/v1/sites/US/c/::1/head?packet=perhaps", "parameter"),
        ("/v1/chain?x=1", "parameter"),
        ("/v1/trace/HELLO", "mistyped"),
    ],
)
async def test_bad_parameters_are_refused_by_name(case: Case, path: str, error: str) -> None:
    await case.catch_up()
    assert (await get(case, path, 400))["error"] == error


async def test_before_the_view_is_loaded_clients_are_told_to_come_back(case: Case) -> None:
    assert (await get(case, "/v1/chain", 503))["error"] == "view_closed"
    assert await get(case, "/health/ready", 503) == {"ready": False, "height": 0}
    assert await get(case, "/health/live") == {"live": True}


async def test_the_chain_page_gives_the_certified_end(case: Case) -> None:
    await case.catch_up()
    body = await get(case, "/v1/chain")
    assert body["height"] == 3
    assert body["chain"] == case.chain.world.genesis.chain.hex()
    assert body["bytes"] == sum(len(derived.block.encoded) for derived in case.chain.blocks)
    assert body["certificate"].startswith(case.chain.blocks[-1].checkpoint.body().decode())


async def test_a_trace_points_at_the_bytes_and_proves_them(case: Case) -> None:
    await case.catch_up()
    code = str(TracingCode(case.chain.world.genesis.chain[:5], 3, 2))
    body = await get(case, f"/v1/trace/{code.lower()}")
    chain_bytes = b"".join(derived.block.encoded for derived in case.chain.blocks)
    block = chain_bytes[body["block_recorder"]["offset"] :][: body["block_recorder"]["length"]]
    assert block[body["data_recorder"]["offset"] :][: body["data_recorder"]["length"]] == case.last
    proof = body["proof"]
    checkpoint = parse_checkpoint(proof["certificate"].split("\n\n")[0].encode() + b"\n")
    path = [b64decode(item) for item in proof["path"]]
    assert is_included(
        bytes.fromhex(body["check_code"]),
        proof["leaf_index"],
        proof["tree_size"],
        path,
        checkpoint.root,  # type: ignore[union-attr]
    )


async def test_a_trace_shows_no_plain_value(case: Case) -> None:
    await case.catch_up()
    body = await get(case, f"/v1/trace/{TracingCode(case.chain.world.genesis.chain[:5], 3, 2)}")
    assert not {"values", "indicator", "value"} & set(body)


@pytest.mark.parametrize(
    ("height", "entry", "error"), [(2, 1, "not_a_packet"), (3, 3, "not_committed"), (4, 0, "not_committed")]
)
async def test_codes_of_other_places_are_not_found(case: Case, height: int, entry: int, error: str) -> None:
    await case.catch_up()
    code = TracingCode(case.chain.world.genesis.chain[:5], height, entry)
    assert (await get(case, f"/v1/trace/{code}", 404))["error"] == error


async def test_a_code_of_another_chain_is_not_found(case: Case) -> None:
    await case.catch_up()
    assert (await get(case, f"/v1/trace/{TracingCode(bytes(5), 1, 0)}", 404))["error"] == "other_chain"


async def test_a_topic_that_no_longer_holds_the_block_is_an_error_not_a_lie(case: Case) -> None:
    await case.catch_up()
    case.topic.values[2] = framed(case.chain.certified[1])
    code = TracingCode(case.chain.world.genesis.chain[:5], 3, 2)
    assert (await get(case, f"/v1/trace/{code}", 500))["error"] == "block_differs"


async def test_metrics_have_no_site_in_them(case: Case) -> None:
    await case.catch_up()
    await head(case, case.sites[0].name)
    async with case.client(Principal(Role.MONITOR, "prometheus")) as client:
        text = (await client.get("/metrics")).text
    assert 'route="/v1/sites/{country}/{city:path}/{site_id}/head"' in text
    # Agents of other tests of this process count by site; the API serves no such program.
    own = [line for line in text.splitlines() if "bkdms_site_" not in line]
    assert not [line for line in own if "unlocode" in line]


async def test_registry_errors_have_the_registry_s_form(case: Case) -> None:
    assert (await get(case, "/schemas/ids/999", 404))["error_code"] == 40403
    assert (await get(case, "/subjects/nothing-value/versions", 404))["error_code"] == 40401
    assert (await get(case, "/subjects/kpi.blocks.v1-value/versions/7", 404))["error_code"] == 40402


async def test_subjects_name_the_schemas_of_each_topic(case: Case) -> None:
    assert await get(case, "/subjects/kpi.chain.v1-value/versions") == [1, 2, 3]
    latest = await get(case, "/subjects/kpi.blocks.v1-value/versions/latest")
    by_id = await get(case, f"/schemas/ids/{latest['id']}?fetchMaxId=true&subject=x")
    assert by_id["schema"] == latest["schema"]
    assert by_id["maxId"] == max(ids().values())
    assert await get(case, "/schemas/types") == ["AVRO"]
    assert "kpi.observations.v1-value" in await get(case, "/subjects")


async def test_contradicting_certificates_stop_the_view_and_what_was_verified_is_still_served(
    case: Case,
) -> None:
    await case.catch_up()
    fork = Chain(case.chain.world)
    fork.block(*(control_value(entry.payload) for entry in case.chain.blocks[0].block.entries))
    fork.packets(case.chain.world.site(1).packet([99]))
    case.topic.publish(fork.certified[1:])
    app = case.app
    async with app.router.lifespan_context(app):
        while case.parts.halted is None:
            await asyncio.sleep(0.01)
    body = await get(case, "/health/ready", 503)
    assert body["halted"] == "fork"
    assert isinstance(
        verify_head(case.chain.world.genesis, case.last, await head(case, case.sites[0].name)), Receipt
    )


async def test_a_restarted_view_goes_on_where_it_was(case: Case) -> None:
    await case.catch_up()
    case.close()
    case.parts = case.open()
    case.chain.packets(case.sites[2].packet([5]))
    await case.catch_up()
    assert (await head(case, case.sites[2].name)).sequence == 1
    assert case.view.rebuilds == 0


@pytest.mark.parametrize("damage", ["shortened", "changed", "removed"])
async def test_a_view_whose_hashes_are_damaged_is_built_again(case: Case, damage: str) -> None:
    await case.catch_up()
    case.close()
    level = case.folder / "tree" / "level2.bin"
    match damage:
        case "shortened":
            level.write_bytes(level.read_bytes()[:-1])
        case "changed":
            level.write_bytes(bytes(len(level.read_bytes())))
        case _:
            level.unlink()
    case.parts = case.open()
    await case.catch_up()
    assert case.view.rebuilds == 1
    receipt = verify_head(case.chain.world.genesis, case.last, await head(case, case.sites[0].name))
    assert isinstance(receipt, Receipt), receipt


async def test_a_crash_before_any_write_leaves_the_same_view_afterwards(tmp_path: Path) -> None:
    chain = Case(tmp_path / "unused")
    reference = ApiCase(tmp_path / "reference", chain.chain)
    await reference.catch_up()
    step, crashed = 0, True
    while crashed:
        case = ApiCase(tmp_path / str(step), chain.chain)
        crashed = False
        with crash_at(case.view.engine, step):
            try:
                await case.catch_up()
            except CrashError:
                crashed = True
        case.close()
        case.parts = case.open()
        await case.catch_up()
        assert all_rows(case.view.engine, VIEW) == all_rows(reference.view.engine, VIEW), f"crash at {step}"
        assert isinstance(
            verify_head(chain.chain.world.genesis, chain.last, await head(case, chain.sites[0].name)), Receipt
        )
        case.close()
        step += 1
    assert step > 10
    reference.close()
    chain.close()


def test_a_folder_has_one_view_at_a_time(case: Case) -> None:
    with pytest.raises(ConfigError, match="in use"):
        SqlLedgerView(case.folder, case.chain.world.genesis)


def test_a_view_of_another_chain_is_refused(case: Case) -> None:
    case.close()
    with pytest.raises(ConfigError, match="holds chain"):
        SqlLedgerView(case.folder, World(nodes=5, quorum=4).genesis)
    case.parts = case.open()
