"""``bkdms export tiles`` under a policy, on a real Kafka: what a witness says decides, and the command says why."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.keystore import save_key
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.tlog_policy import TlogPolicy, Witnessed, check_note, parse_policy
from pipeline.core.topics import Topics
from tests.support.commands import Ended, bkdms, settings_file
from tests.support.nodes import ChainRig, chain_rig
from tests.support.tiles import exported_files
from tests.support.witness import HonestWitness
from tests.support.world import control_value

pytestmark = [pytest.mark.stack, pytest.mark.faults]


@pytest.fixture(scope="module")
async def rig(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChainRig]:
    """A chain of one block."""
    topics = Topics(f"{unique_name('x')}.")
    stack.add_topics(topics)
    async with chain_rig(stack, topics, tmp_path_factory.mktemp("witnessed")) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        await opened.send([control_value(raw) for raw in opened.world.enrolment(opened.site)])
        await opened.until_published(1)
        yield opened


async def export(rig: ChainRig, folder: Path, policy: str) -> Ended:
    """Export to a folder under a policy."""
    folder.mkdir()
    save_key(folder / "log.json", rig.world.log_signer)
    (folder / "witnesses.txt").write_text(policy)
    table = {"key": folder / "log.json", "policy": folder / "witnesses.txt"}
    settings = settings_file(rig, folder, "exporter", export=table)
    return await bkdms(settings, "export", "tiles", str(folder / "log"))


def policy_with(rig: ChainRig, witness: HonestWitness) -> str:
    chain = policy_text(rig.world.genesis).replace("quorum accounting-nodes\n", "")
    return f"{chain}{witness.line}group all all accounting-nodes {witness.name}\nquorum all\n"


async def test_an_export_is_published_as_its_witness_cosigns(rig: ChainRig, tmp_path: Path) -> None:
    witness = HonestWitness(log_verifier(rig.world.genesis))
    async with witness.served():
        text = policy_with(rig, witness)
        ended = await export(rig, tmp_path / "one", text)
        assert ended.code == 0, ended.err
        files, policy = exported_files(tmp_path / "one" / "log"), parse_policy(text.encode())
        assert isinstance(policy, TlogPolicy)
        assert isinstance(check_note(policy, files["checkpoint"]), Witnessed)
        assert files["policy.txt"].decode() == text

        true_root, witness.root = witness.root, bytes(32)
        ended = await export(rig, tmp_path / "forked", text)
        assert (ended.code, f"witness {witness.name} knows another tree" in ended.err) == (1, True), ended.err
        assert "checkpoint" not in exported_files(tmp_path / "forked" / "log")

        size, witness.root, witness.size = witness.size, true_root, witness.size + 7
        ended = await export(rig, tmp_path / "rolled", text)
        assert (ended.code, f"has seen {size + 7} leaves" in ended.err) == (1, True), ended.err
        assert "checkpoint" not in exported_files(tmp_path / "rolled" / "log")
