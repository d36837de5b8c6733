"""The proof at the end: audit, oracle, trace, tampering; and the JSON object that says it all."""

import secrets
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.demo import commands
from pipeline.apps.demo.assessing import look_at_assessments
from pipeline.apps.demo.proving import Portable, prove_value
from pipeline.apps.demo.run import Show, plan_file, query
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.block import certified_body, parse_certified
from pipeline.core.topics import Topics
from schemas import schema_folder

_FETCH = 100
_WAIT_MS = 500
BLOCK_SUFFIX = ".block"


@dataclass(frozen=True, slots=True)
class Proof:
    """What audit, oracle, trace, portable proof, tampering and the look at assessments gave."""

    audit: dict[str, Any]
    audit_ok: bool
    oracle: dict[str, Any]
    trace: dict[str, Any]
    portable: Portable
    tamper_named: str
    assessments: dict[str, Any]


async def prove(show: Show, export: Path) -> Proof:
    """Check everything that was committed, by the commands that an auditor would use.

    ``export`` becomes a folder of encoded blocks with certificates, genesis, policy and verifier keys.
    """
    deployment = show.deployment
    settings = deployment.settings_file
    show.tell("auditing the whole chain")
    audit = commands.bkdms(settings, "verify", "--json")
    await export_blocks(show, export)
    show.tell("asking the oracle, which shares no code with the pipeline")
    files = deployment.stack.credentials(Role.AUDITOR, "demo")
    judged = commands.oracle(
        *("--plan", str(plan_file(deployment)), "--store", str(deployment.store_file)),
        *("--schemas", str(schema_folder()), "--genesis", str(deployment.chain.genesis_file)),
        *("--bootstrap", deployment.stack.kafka_bootstrap, "--topic", _topics(show).blocks),
        *("--ca", str(files.ca), "--certificate", str(files.certificate), "--key", str(files.key)),
    )
    show.tell("tracing one value back to its place")
    code = query(
        deployment.store_file,
        "SELECT tracing_code FROM kpi_records WHERE status = 'ok' ORDER BY height DESC, entry LIMIT 1",
    )[0][0]
    trace = commands.bkdms(settings, "trace", code, "--json")
    show.tell("proving the same value for people who have no access to anything here")
    portable = prove_value(settings, deployment.chain.policy_file, code, export)
    show.tell("flipping one byte in a copy of a block")
    named = _tamper(settings, export, deployment.data_dir / "tampered")
    show.tell("asking the API for assessments, and reckoning some of them again from the files")
    assert show.scene is not None  # noqa: S101  set before
    site = deployment.stack.credentials(Role.SITE, show.scene.sites[0].label)
    assessed = await look_at_assessments(deployment, TlsFiles(site.ca, site.certificate, site.key))
    return Proof(audit.json(), audit.code == 0, judged.json(), trace.json(), portable, named, assessed)


def _topics(show: Show) -> Topics:
    return Topics(show.deployment.plan.chain.topic_prefix)


async def export_blocks(show: Show, folder: Path) -> None:
    """Write each certified block to a file of its own, beside what is needed to check them offline."""
    deployment = show.deployment
    blocks = folder / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    files = deployment.stack.credentials(Role.AUDITOR, "demo")
    tls = TlsFiles(files.ca, files.certificate, files.key)
    reader = KafkaPartitionReader(
        KafkaConnection(deployment.stack.kafka_bootstrap, tls, "export"), _topics(show).blocks, 0
    )
    try:
        position, end = await reader.bounds()
        await reader.seek(position)
        height = 0
        while position < end:
            for record in await reader.fetch(_FETCH, _WAIT_MS):
                position = record.offset + 1
                height += 1
                (blocks / f"{height:08d}{BLOCK_SUFFIX}").write_bytes(certified_body(record.value))
    finally:
        await reader.close()
    chain = deployment.chain
    for file in (chain.genesis_file, chain.policy_file, chain.log_verifier_file, chain.node_verifiers_file):
        shutil.copy(file, folder / file.name)


def _tamper(settings: Path, export: Path, folder: Path) -> str:
    """Flip one bit of a copied block and return how the audit names it; empty where it does not."""
    shutil.copytree(export / "blocks", folder)
    victims = sorted(folder.glob(f"*{BLOCK_SUFFIX}"))
    victim = victims[len(victims) // 2]
    data = bytearray(victim.read_bytes())
    place = len(data) // 3 + secrets.randbelow(len(data) // 3)
    data[place] ^= 1
    victim.write_bytes(data)
    found = commands.bkdms(settings, "verify", "--blocks", str(folder), "--json")
    if found.code != 1:
        return ""
    return f"byte {place} of {victim.name}: {found.json()['problem']}"


def report(show: Show, proof: Proof, letters: list[dict[str, Any]], export: Path) -> dict[str, Any]:
    """Return the demonstration's JSON object."""
    sites = show.sites_report["sites"]
    assert show.hostile is not None  # noqa: S101  set before
    hostile = {avro.frame(PACKET_SCHEMA, attempt.raw) for attempt in show.hostile.attempts}
    admitted = _admitted(export)
    repeats = [letter for letter in letters if _is_repeat(letter, admitted, hostile)]
    refused = Counter(letter["reason"] for letter in letters if letter not in repeats)
    refused.update(a.seen for a in show.hostile.attempts if a.seen == "mismatch")
    cpu = {part.name: round(part.cpu_seconds, 2) for part in show.parts}
    audit, judged = proof.audit, proof.oracle
    return {
        "sites": len(sites),
        "packets_sent": sum(site["packets"] for site in sites) + len(show.hostile.attempts) - 1,
        "packets_admitted": audit["packets"],
        "packets_refused": dict(sorted(refused.items())),
        "duplicates_dropped": show.duplicates + len(repeats),
        "records": judged["records"],
        "values": judged["values"],
        "observations_stored": judged["observations_stored"],
        "blocks": audit["blocks"],
        "height": audit["height"],
        "tree_size": audit["tree_size"],
        "root": audit["root"],
        "nodes": len(show.deployment.genesis.policy.node_names),
        "quorum": show.deployment.genesis.policy.quorum,
        "lied_about_heights": show.liar_heights,
        "hostile": {attempt.name: attempt.seen for attempt in show.hostile.attempts},
        "missing": judged["missing"],
        "doubled": judged["doubled"],
        "altered": judged["altered"],
        "oracle_problems": judged["problems"],
        "audit_ok": proof.audit_ok,
        "trace": proof.trace,
        "proof": proof.portable.as_json(),
        "tamper_named": proof.tamper_named,
        "assessments": proof.assessments,
        "cpu_seconds": cpu,
        "seconds": round(time.monotonic() - show.began, 1),
    }


def _admitted(export: Path) -> set[bytes]:
    """Return the packets in the exported blocks, framed as they were sent."""
    blocks = (parse_certified(file.read_bytes()) for file in (export / "blocks").iterdir())
    entries = (entry for parsed in blocks if parsed is not None for entry in parsed[0].entries)
    return {avro.frame(PACKET_SCHEMA, entry.payload) for entry in entries}


def _is_repeat(letter: dict[str, Any], admitted: set[bytes], hostile: set[bytes]) -> bool:
    """Tell whether a dead letter is a second copy of an admitted packet, sent again after a failure.

    The chain calls only a copy of the last packet of a site a duplicate; one of an earlier packet is stale.
    """
    return letter["value"] in admitted and letter["value"] not in hostile


def failures(result: dict[str, Any], show: Show) -> list[str]:
    """Return what does not hold; empty for a good demonstration."""
    assert show.hostile is not None  # noqa: S101  set before
    expected = {
        "nothing missing, doubled or altered": not (
            result["missing"] or result["doubled"] or result["altered"] or result["oracle_problems"]
        ),
        "as many observations stored as values sent": result["observations_stored"] == result["values"] > 0,
        "the audit passes": result["audit_ok"],
        "the trace leads to the packet's bytes": bool(result["trace"].get("bytes_match")),
        "the portable proof holds, and damaged does not": result["proof"]["check_proof"],
        "the second checker agrees": result["proof"]["second_checker"] is not False,
        "the flipped byte is named": bool(result["tamper_named"]),
        "every hostile client is refused": all(attempt.is_refused for attempt in show.hostile.attempts),
        "the liar lied and was outvoted": result["lied_about_heights"] > 0,
        "assessments agree with the files": result["assessments"]["agree_with_files"],
        "the topic of assessments agrees with the store": result["assessments"]["agree_with_topic"],
        "a site's certificate is refused assessments": result["assessments"]["site_is_refused"],
        "at least 12 sites": result["sites"] >= 12,
    }
    return [name for name, holds in expected.items() if not holds]
