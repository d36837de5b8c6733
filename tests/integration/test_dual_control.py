"""Drills on real parts: a stolen registrar's key, a lost node's key, another contract, rules that nobody here knows."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.keystore import save_key
from pipeline.core.avro import unframe
from pipeline.core.block import parse_certified
from pipeline.core.checkpoint import parse_checkpoint
from pipeline.core.control import (
    Control,
    NewContract,
    Nodes,
    RootBody,
    Rules,
    control_id,
    parse_control,
    sign_control,
)
from pipeline.core.errors import IntegrityError
from pipeline.core.keys import Use
from pipeline.core.quorum import CertificateProblem, Certified, NodeKey, Policy, check_certificate
from pipeline.core.replica import Extended, extend
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState, Position
from pipeline.core.topics import Topics
from pipeline.services.registry_view import RegistryView
from pipeline.services.root_records import RootDesk, proposed
from schemas import schema
from tests.support.commands import bkdms, settings_file
from tests.support.nodes import ChainRig, chain_rig
from tests.support.waiting import read_topic
from tests.support.world import TestSite, control_value, packet_value, secret

pytestmark = [pytest.mark.stack, pytest.mark.faults]

LATER = Ed25519Signer(secret("later registrar"), Use.REGISTRAR)
NEW_NODE = Ed25519Signer(secret("new key of node-3"), Use.NODE)


@pytest.fixture
async def rig(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[ChainRig]:
    """A chain with four nodes and an enrolled site."""
    topics = Topics(f"{unique_name('r')}.")
    stack.add_topics(topics)
    async with chain_rig(stack, topics, tmp_path) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        await opened.send([control_value(raw) for raw in opened.world.enrolment(opened.site)])
        await opened.until_published(1)
        yield opened


async def state_of(rig: ChainRig) -> ChainState:
    """Return the state that everybody derives from the published blocks."""
    state = rig.world.state()
    for block in await rig.blocks():
        extended = extend(state, block.certified)
        assert isinstance(extended, Extended), extended
    return state


async def decide(rig: ChainRig, body: RootBody) -> int:
    """Let the first and third root key decide; return the height that the ledger then has."""
    reader = KafkaPartitionReader(rig.connection("registrar", "root"), rig.topics.blocks, 0)
    view = RegistryView(rig.world.genesis, reader)
    made = proposed(await view.refresh(), rig.world.roots[0].public, body)
    for signer in (rig.world.roots[0], rig.world.roots[2]):
        made = made.signed_by(signer)
    done = await RootDesk(rig.world.genesis, view, rig.producer).submit(made)
    await reader.close()
    assert done.height is not None
    return done.height


def packet(site: TestSite, value: int) -> bytes:
    return packet_value(site.packet([value], time_ms=SystemClock().now_ms()))


async def grow(rig: ChainRig, site: TestSite) -> int:
    """Send a packet of a site; return the height of the block that holds it."""
    value = packet(site, 1)
    await rig.send([value])

    async def committed() -> bool:
        return (await state_of(rig)).tables.positions.get(site.name) == Position(site.sequence, site.previous)

    await rig.until(committed)
    return (await state_of(rig)).head.height


async def refusals(rig: ChainRig) -> list[str]:
    """Return why the chain refused records, by the dead letters."""
    found = []
    for record in await read_topic(rig.connection("auditor", "rig"), rig.topics.rejected):
        value = unframe(schema("Rejection"), record.value or b"")
        assert value is not None
        found.append(value["reason"])
    return found


def issued_by(rig: ChainRig, signer: Ed25519Signer, last: Position, site: TestSite) -> list[bytes]:
    """Return the enrolment of a site, signed by this registrar after its last record."""
    found = []
    for raw in rig.world.enrolment(site):
        control = parse_control(raw)
        assert isinstance(control, Control)
        mine = sign_control(rig.world.genesis.chain, signer, last.sequence + 1, last.last_id, control.body)
        last = Position(last.sequence + 1, control_id(mine) or b"")
        found.append(control_value(mine))
    return found


async def test_a_stolen_registrar_key_is_replaced_by_people_who_sign_apart(rig: ChainRig) -> None:
    """By commands as people type them; the thief's records then count nowhere, what was good before stays good."""
    folder = rig.folder / "root"
    settings = settings_file(rig, folder, "registrar", registrar={"key": folder / "registrar-2.json"})
    for number, key in enumerate(rig.world.roots, 1):
        save_key(folder / f"root-{number}.json", key)
    save_key(folder / "registrar-2.json", LATER)
    proposal, copies = folder / "p.json", [folder / "a.json", folder / "b.json"]
    old = rig.world.registrar.public
    made = await bkdms(
        settings, "root", "propose", "registrars", "--remove", old.fingerprint.hex()[:8],
        "--add", f"ed25519:{LATER.public.raw.hex()}", "--issuer", "2", "-o", str(proposal),
    )  # fmt: skip
    assert made.code == 0, made.err
    for copy, number in zip(copies, (3, 2), strict=True):
        signed = await bkdms(
            settings, "root", "sign", str(proposal), "--root-key", str(folder / f"root-{number}.json"),
            "-o", str(copy), "--yes",
        )  # fmt: skip
        assert (signed.code, LATER.public.fingerprint.hex() in signed.err) == (0, True), signed.err
    early = await bkdms(settings, "root", "submit", str(copies[0]))
    assert (early.code, "root key 2" in early.err) == (1, True), early.err
    done = await bkdms(settings, "root", "submit", *map(str, copies))
    assert done.code == 0, done.err

    state = await state_of(rig)
    assert list(state.registrars) == [LATER.public.fingerprint]
    stolen = state.tables.issuers[old.fingerprint]
    theirs, ours = rig.world.site(2), rig.world.site(3)
    await rig.send(issued_by(rig, rig.world.registrar, stolen, theirs))
    await rig.send(issued_by(rig, LATER, Position(0, bytes(32)), ours))
    await grow(rig, ours)
    await grow(rig, rig.site)
    state = await state_of(rig)
    assert theirs.name not in state.tables.sites
    assert {rig.site.name, ours.name} <= set(state.tables.sites)
    assert await refusals(rig) == ["unknown_issuer", "unknown_issuer"]
    ended = await bkdms(settings_file(rig, rig.folder / "audit", "auditor"), "verify", "--json")
    assert (ended.code, json.loads(ended.out)["audit_ok"]) == (0, True), ended.out + ended.err


async def test_a_lost_node_key_is_replaced_and_sealing_goes_on_without_a_gap(rig: ChainRig) -> None:
    """The new key counts from the next block on, the lost one no more; history is checked by the nodes of its time."""
    before = await grow(rig, rig.site)
    await rig.stop_node("node-3")
    keys = [key for key in rig.world.genesis.policy.nodes if key.node != "node-3"]
    policy = Policy((*keys, NodeKey("node-3", NEW_NODE.public.raw)), 3)
    await decide(rig, Nodes(policy))
    assert (await state_of(rig)).policy == policy
    rig.start_node("node-3", NEW_NODE, rig.folder / "node-3-again")
    await rig.stop_node("node-0")
    after = await grow(rig, rig.site)
    blocks = {block.height: block.certified for block in await rig.blocks()}
    assert list(blocks) == list(range(1, after + 1))
    origin, genesis = rig.world.genesis.origin, rig.world.genesis
    certificate = certificate_of(blocks[after])
    certified = check_certificate(certificate, origin, policy)
    assert isinstance(certified, Certified)
    assert certified.signers == ("node-1", "node-2", "node-3")
    assert isinstance(check_certificate(certificate, origin, genesis.policy), CertificateProblem)
    names = ["node-1", "node-2", "node-3"]
    by_lost_key = rig.world.certificate(certified.checkpoint, names)
    assert parse_checkpoint(certificate.split(b"\n\n")[0] + b"\n") == certified.checkpoint
    assert isinstance(check_certificate(by_lost_key, origin, genesis.policy), Certified)
    assert isinstance(check_certificate(by_lost_key, origin, policy), CertificateProblem)
    assert isinstance(check_certificate(certificate_of(blocks[before]), origin, genesis.policy), Certified)
    ended = await bkdms(settings_file(rig, rig.folder / "audit", "auditor"), "verify", "--json")
    assert (ended.code, json.loads(ended.out)["audit_ok"]) == (0, True), ended.out + ended.err


async def test_a_contract_comes_into_force_and_unknown_rules_stop_every_node_before_the_next_block(
    rig: ChainRig,
) -> None:
    first = rig.world.genesis.contract
    decided = await decide(rig, NewContract(replace(first, version=2, max_age_ms=60_000)))
    old = packet_value(rig.site.packet([1], time_ms=SystemClock().now_ms() - 120_000, advance=False))
    await rig.send([old])
    height = await grow(rig, rig.site)
    assert await refusals(rig) == ["too_old"]
    hashes = [
        (parse_certified(block.certified) or pytest.fail())[0].header.contract_hash
        for block in await rig.blocks()
    ]
    state = await state_of(rig)
    assert hashes == [first.hash] * decided + [state.contract.hash] * (height - decided)
    audit = settings_file(rig, rig.folder / "audit", "auditor")
    ended = await bkdms(audit, "verify", "--json")
    assert ended.code == 0, ended.out + ended.err
    what = f"contract version 2, hash {state.contract.hash.hex()}"
    assert json.loads(ended.out)["decisions"] == [{"height": decided, "what": what}]

    last = await decide(rig, Rules(2))
    await rig.send([packet(rig.site, 3)])
    tasks = list(rig.tasks.values())
    await asyncio.wait(tasks, timeout=30)
    codes = {error.code for task in tasks if isinstance(error := task.exception(), IntegrityError)}
    assert (codes, [task.done() for task in tasks]) == ({"upgrade_needed"}, [True] * 4)
    assert (await state_of(rig)).head.height == last


def contract_hash(block: bytes) -> bytes:
    """Return the contract's hash that a published block states."""
    parsed = parse_certified(block)
    assert parsed is not None
    return parsed[0].header.contract_hash


def certificate_of(block: bytes) -> bytes:
    """Return the certificate of a published block."""
    parsed = parse_certified(block)
    assert parsed is not None
    return parsed[1]
