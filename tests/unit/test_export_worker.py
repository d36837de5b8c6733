"""Putting an exporter together: the policy file of the settings, and the one that is offered beside the tiles."""

from pathlib import Path

import httpx
import pytest

from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.authority import ChainFiles, ChainPlan, create_chain, load_genesis
from pipeline.apps.workers.export import export_worker
from pipeline.config import Settings, load_settings
from pipeline.core.admission import TICK_VALUE
from pipeline.core.derive import LogRecord
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.outcome import Outcome
from pipeline.services.exporter import ExportWorker
from pipeline.services.follower import follow_to_end
from tests.support.api import ApiCase
from tests.support.chain import Chain, MemoryTopic
from tests.support.clean_env import clean_env
from tests.support.tiles import exporter
from tests.support.world import NOW_MS, PERIOD_MS, packet_value

__all__ = ["clean_env"]

CONNECTION = KafkaConnection("127.0.0.1:1", TlsFiles(Path("ca"), Path("certificate"), Path("key")), "export")


class Case:
    def __init__(self, folder: Path) -> None:
        create_chain(folder / "chain", ChainPlan("https://kpi.example.org/city1"))
        self.files = ChainFiles(folder / "chain")
        self.genesis: Genesis = load_genesis(self.files.genesis_file)
        self.export = folder / "export"
        self.policy = folder / "witnesses.txt"

    def settings(self, *, policy: bool) -> Settings:
        toml = f'genesis = "{self.files.genesis_file}"\n[export]\nkey = "{self.files.folder}/keys/log.json"\n'
        path = self.policy.with_name("bkdms.toml")
        path.write_text(toml + (f'policy = "{self.policy}"\n' if policy else ""))
        return load_settings(path)

    async def start(self, *, policy: bool) -> None:
        made = export_worker(self.settings(policy=policy), self.genesis, CONNECTION, self.export)
        await made.close()

    async def refusal(self) -> str:
        with pytest.raises(ConfigError) as refused:
            await self.start(policy=True)
        return str(refused.value)


@pytest.fixture
def case(clean_env: Path) -> Case:
    return Case(clean_env)


async def test_the_policy_of_the_chain_is_offered_without_a_setting(case: Case) -> None:
    await case.start(policy=False)
    assert (case.export / "policy.txt").read_bytes() == case.files.policy_file.read_bytes()


async def test_the_policy_of_the_setting_is_offered_where_there_is_one(case: Case) -> None:
    case.policy.write_bytes(b"# ours\n" + case.files.policy_file.read_bytes())
    await case.start(policy=True)
    assert (case.export / "policy.txt").read_bytes() == case.policy.read_bytes()
    await case.start(policy=False)
    assert (case.export / "policy.txt").read_bytes() == case.files.policy_file.read_bytes()
    assert [path.name for path in case.export.iterdir() if path.is_file()] == ["policy.txt"]


async def test_a_bad_policy_file_is_named_with_its_line(case: Case) -> None:
    case.policy.write_text("# ours\nquorum nobody\n")
    message = await case.refusal()
    assert str(case.policy) in message
    assert "line 2: no line above defines 'nobody'" in message
    assert not case.export.exists()


async def test_a_missing_policy_file_is_named(case: Case) -> None:
    assert str(case.policy) in await case.refusal()


async def test_a_policy_without_this_log_is_refused(case: Case) -> None:
    other = Case(case.policy.parent / "other")
    case.policy.write_bytes(other.files.policy_file.read_bytes())
    assert "does not list the log" in await case.refusal()
    assert not (case.export / "policy.txt").exists()


async def test_the_policy_is_served_beside_the_checkpoint(tmp_path: Path) -> None:
    api = ApiCase(tmp_path / "api", Chain())
    api.parts.tiles = tmp_path
    (tmp_path / "policy.txt").write_bytes(b"quorum none\n")
    async with api.client() as client:
        answer: httpx.Response = await client.get("/tiles/policy.txt")
    api.close()
    assert (answer.status_code, answer.content) == (200, b"quorum none\n")
    assert answer.headers["Cache-Control"] == "no-cache"


async def _exported(folder: Path, *, trusted: bool) -> ExportWorker:
    """Export a chain whose quorum certified a packet that its site did not sign."""
    chain = Chain()
    site = chain.world.site(1)
    chain.enrol(site)
    forged = bytearray(site.packet([1]))
    forged[-1] ^= 1
    chain.deriver.feed(LogRecord(chain.deriver.next_offset, NOW_MS, TICK_VALUE))
    record = LogRecord(chain.deriver.next_offset, NOW_MS + PERIOD_MS, packet_value(bytes(forged)))
    assert chain.deriver.feed(record, check=lambda _key, _packet: True).outcome is Outcome.ADMITTED
    chain.blocks += chain.deriver.close()
    topic = MemoryTopic()
    topic.publish(chain.certified)
    worker = exporter(folder, chain.world, topic, trusted=trusted)
    try:
        await follow_to_end(worker.follower)
    finally:
        await worker.close()
    return worker


async def test_what_a_quorum_certified_without_the_sites_signature_is_exported_as_evidence(
    tmp_path: Path,
) -> None:
    assert (await _exported(tmp_path, trusted=True)).follower.height == 2


async def test_an_exporter_that_checks_signatures_halts_at_what_no_site_signed(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as halted:
        await _exported(tmp_path, trusted=False)
    assert halted.value.code == "rules_differ"
