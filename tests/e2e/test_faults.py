"""A whole run on real parts while each of them is killed: nothing is lost, doubled or altered, or leaks."""

import asyncio
from pathlib import Path

import pytest

from ops.tls.principal import Role
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.demo import commands
from pipeline.apps.demo.assessing import look_at_assessments
from pipeline.apps.demo.run import (
    SITES,
    Show,
    is_assessed,
    is_stored,
    plan_file,
    query,
    sites_done,
    start_sites,
    until,
    write_plan,
)
from pipeline.apps.demo.scene import set_scene
from schemas import schema_folder
from tests.support.collector import Collector
from tests.support.zone import leaks

pytestmark = [pytest.mark.stack, pytest.mark.faults]
PACKET_RECORDS = 2
# Stand in every record of the Twin Cities and nowhere else but in the settings of their sites.
PLAIN = (b"MnDOT-via-NAB", b"TravelTime_387", b"TravelTime_451")


@pytest.fixture(scope="session")
async def survived(show: Show) -> Show:
    """Send everything while one part after the other is killed, and wait until all is stored."""
    supervisor = show.deployment.stack.supervisor
    show.scene = await set_scene(show.deployment, PACKET_RECORDS)
    write_plan(show)
    start_sites(show)
    for names in (
        (SITES, "validator-1"),
        ("node-1", "node-2"),
        ("kafka",),
        ("redis", SITES),
        ("platform", "assess", "validator-2", "node-3", "api"),
    ):
        await committed_more(show)
        assert not sites_done(show), f"everything was sent before {names} were killed; make packets smaller"
        for name in names:
            await asyncio.to_thread(supervisor.kill, name)
        for name in names:
            await asyncio.to_thread(supervisor.restart, name)
    await until("every site has verified its last receipt", lambda: sites_done(show))
    await until("the platform has stored everything", lambda: is_stored(show))
    return show


async def committed_more(show: Show) -> None:
    """Wait until the sites got further, so that the next fault hits a run at work."""
    before = packets_stored(show)
    await until("more is stored", lambda: packets_stored(show) > before or sites_done(show))


def packets_stored(show: Show) -> int:
    return int(query(show.deployment.store_file, "SELECT count(*) FROM kpi_records")[0][0])


@pytest.mark.timeout(400)
async def test_nothing_is_lost_doubled_or_altered_whatever_is_killed(survived: Show) -> None:
    deployment = survived.deployment
    files = deployment.stack.credentials(Role.AUDITOR, "oracle")
    judged = commands.oracle(
        *("--plan", str(plan_file(deployment)), "--store", str(deployment.store_file)),
        *("--schemas", str(schema_folder()), "--genesis", str(deployment.chain.genesis_file)),
        *("--bootstrap", deployment.stack.kafka_bootstrap),
        *("--ca", str(files.ca), "--certificate", str(files.certificate), "--key", str(files.key)),
    )
    verdict = judged.json()
    found = {name: verdict[name] for name in ("missing", "doubled", "altered", "problems")}
    assert found == {"missing": 0, "doubled": 0, "altered": 0, "problems": []}
    assert verdict["observations_stored"] == verdict["values"] == 16_705


async def test_the_audit_passes_after_all_faults(survived: Show) -> None:
    answer = commands.bkdms(survived.deployment.settings_file, "verify", "--json")
    assert answer.json()["problem"] in (None, "")
    assert answer.code == 0


@pytest.mark.timeout(400)
async def test_assessments_are_those_of_the_files_after_all_faults(survived: Show) -> None:
    await until("everything stored is assessed", lambda: is_assessed(survived))
    assert survived.scene is not None
    site = survived.deployment.stack.credentials(Role.SITE, survived.scene.sites[0].label)
    found = await look_at_assessments(survived.deployment, TlsFiles(site.ca, site.certificate, site.key))
    verdicts = ("agree_with_files", "agree_with_topic", "site_is_refused")
    assert {name: found[name] for name in verdicts} == dict.fromkeys(verdicts, True)


async def test_no_plain_value_is_written_outside_the_platform_zone(survived: Show) -> None:
    assert leaks(survived.deployment.data_dir, PLAIN) == []
    # The search is able to find: inside the zone the words stand in clear.
    assert PLAIN[0] in survived.deployment.store_file.read_bytes()


async def test_packets_are_traced_from_site_to_store(survived: Show, collector: Collector) -> None:
    """Whatever was killed, many packets have a span of every step, under the one root that the site made."""
    steps = {"site.deliver", "validator.admit", "node.commit", "platform.store"}
    whole = [found for found in collector.spans.values() if {span.name for _, span in found} == steps]
    assert len(whole) > packets_stored(survived) / 4
    for found in whole:
        (root,) = {span.span_id for _, span in found if span.name == "site.deliver"}
        assert {span.parent_span_id for _, span in found if span.name != "site.deliver"} == {root}


async def test_stopping_leaves_no_process(survived: Show) -> None:
    """Must be the last test of this file: it ends what the others use."""
    pids = [child.pid for child in survived.deployment.stack.children() if child.pid]
    survived.deployment.stop()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
