"""``bkdms check-proof``: what a proof proves, checked offline with a policy file and nothing else."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.apps.cli.context import emit_json, say
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.proof import Proof, verify_proof
from pipeline.core.tlog_policy import MAX_POLICY_BYTES, PolicyFileProblem, TlogPolicy, parse_policy
from pipeline.core.tlog_proof import MAX_TLOG_PROOF_BYTES

FOUND_WRONG: Final = 1


def check_proof(
    file: Annotated[Path, typer.Argument(help="The proof, such as AMQ8WJQ7-3-0-T.tlog-proof.")],
    *,
    policy: Annotated[
        Path, typer.Option(help="Policy file (C2SP tlog-policy): the log, and who must have cosigned it.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Check offline that a packet is in the ledger, in its place, signed by its enrolled site.

    Needs no settings, no network and no secret. Whom you trust is what the policy file says: get it from a source of
    your own, such as the city's register, not from whoever gave you the proof. Exit code 1: it proves nothing.

    Example: bkdms check-proof AMQ8WJQ7-3-0-T.tlog-proof --policy policy.txt
    """
    require_compiled_reader()
    result = verify_proof(read_policy(policy), _read(file, MAX_TLOG_PROOF_BYTES))
    if isinstance(result, Proof):
        tell_proof(result, json=json)
        return
    if json:
        emit_json({"good": False, "reason": result.reason.value, "detail": result.detail})
    else:
        print(f"BAD  {result}")
    raise typer.Exit(FOUND_WRONG)


def read_policy(path: Path) -> TlogPolicy:
    """Read a policy file.

    Raises:
        ConfigError: it is missing or no policy; the message names file and line.
    """
    policy = parse_policy(_read(path, MAX_POLICY_BYTES))
    if isinstance(policy, PolicyFileProblem):
        raise ConfigError(f"policy file {path}: {policy}")
    return policy


def tell_proof(proof: Proof, *, json: bool) -> None:
    """Print what a proof proves."""
    facts = proof.as_json()
    if json:
        emit_json(facts)
        return
    for name, text in _rows(facts):
        print(f"{name:<15} {text}")
    for record in facts["disclosed"]:
        for value in record["values"]:
            point = f" {value['data_point']}" if value["data_point"] else ""
            print(
                f"{'value':<15} {gmt(record['time'])}  {value['indicator']}{point} = {value['exact']}"
                f" {value['unit']}  (record {record['index']}, quality {value['quality'] or 'not stated'})"
            )
    for text in facts["attested_by_cosigners"]:
        say(f"note: on the word of the cosigners: {text}")


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    place = f"{facts['country']}/{facts['city']}/{facts['site_id']}"
    cosigners = ", ".join(f"{item['name']} ({gmt(1000 * item['time'])})" for item in facts["cosigners"])
    return [
        ("good", facts["tracing_code"]),
        ("site", f"{place}, module {facts['module_id']}, packet {facts['sequence']}"),
        ("collected", f"{gmt(facts['collected_from'])} to {gmt(facts['collected_to'])}"),
        ("admitted", gmt(facts["admitted"])),
        ("records", str(facts["records"])),
        ("block", f"height {facts['height']}, entry {facts['entry']}, hash {facts['block_hash']}"),
        ("chain", f"{facts['chain_id']} {facts['chain']}"),
        ("leaf", f"{facts['leaf_index']} of {facts['tree_size']}, check code {facts['check_code']}"),
        ("root", facts["root"]),
        ("cosigned by", cosigners or "nobody: the policy asks for none"),
    ]


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def gmt(time_ms: int) -> str:
    """Return a time in GMT milliseconds as people read it; one that no calendar has, in milliseconds."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"  # a cosigner may state any time
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
