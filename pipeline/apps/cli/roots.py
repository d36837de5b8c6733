"""``bkdms root``: what enough holders of root keys decide together, on files that go from one to another."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from pipeline.adapters.keystore import new_signing_key
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.values import write_file
from pipeline.apps.keys import key_files
from pipeline.apps.root_desk import (
    body_fields,
    chosen_root,
    in_force,
    key_text,
    new_registrars,
    open_root_desk,
    read_body,
    read_proposal,
)
from pipeline.config import Settings
from pipeline.core.control import NewContract, Nodes, RootBody, Rules, describe
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.policy_file import policy_text
from pipeline.core.proposal import Proposal, proposal_problem
from pipeline.core.state import ChainState
from pipeline.services.root_records import Submitted, joined, missing, proposed, root_number

_FOUND_WRONG: Final = 1
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write, for the holders of root keys.")]
Issuer = Annotated[
    int,
    typer.Option(min=1, help="Number of the root key that issues it (`root show`); its holder must sign."),
]

root = typer.Typer(
    no_args_is_help=True,
    help="Change registrars, nodes, contract or rules: enough holders of root keys must sign.",
)
propose = typer.Typer(no_args_is_help=True, help="Write a proposal that holders of root keys sign.")
root.add_typer(propose, name="propose")


@root.command()
def show(
    ctx: typer.Context,
    *,
    policy: Annotated[
        Path | None, typer.Option(help="Write the auditors' policy for the nodes in force to this file.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show who is registrar, which nodes certify, and the contract and rules in force, from the verified ledger.

    With --json in the form that `root propose nodes` and `root propose contract` read.

    Example: bkdms root show --policy policy.txt
    """
    state = asyncio.run(_state(settings_of(ctx)))
    facts = in_force(state)
    if policy is not None:
        write_file(policy, policy_text(state.genesis, state.policy).encode())
    if json:
        emit_json(facts)
        return
    print(f"height          {facts['height']}")
    for key in facts["roots"]["keys"]:
        print(f"root key {key['number']:<6} {key['fingerprint']}")
    print(f"must sign       {facts['roots']['threshold']} root keys")
    for key in facts["registrars"]:
        print(f"registrar       {key['fingerprint']}")
    print(f"nodes           {', '.join(state.policy.node_names)}; {state.policy.quorum} must agree")
    print(f"contract        version {state.contract.version}, hash {facts['contract_hash']}")
    print(f"rules           version {state.rules_version}")


@propose.command("registrars")
def propose_registrars(
    ctx: typer.Context,
    output: Output,
    *,
    add: Annotated[
        list[str] | None,
        typer.Option(help="Public key of a new registrar, as `root new-key` prints it; repeat."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="First digits of the fingerprint of one who goes; repeat.")
    ] = None,
    issuer: Issuer = 1,
) -> None:
    """Propose a new set of registrars: when it is in the ledger, records of those who are not in it count no more.

    Example: bkdms root propose registrars --remove 5e0c --add ed25519:0a1b… -o registrars.json
    """
    _propose(ctx, output, issuer, lambda state: new_registrars(state, add or [], remove or []))


@propose.command("nodes")
def propose_nodes(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="JSON with `nodes` and `quorum`, as `root show --json` prints.")
    ],
    output: Output,
    issuer: Issuer = 1,
) -> None:
    """Propose accounting nodes and quorum, which certify from the block after the one that holds the record.

    Example: bkdms root propose nodes in-force.json -o nodes.json
    """
    _propose(ctx, output, issuer, lambda _state: read_body(file, Nodes))


@propose.command("contract")
def propose_contract(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON with `contract`, as `root show --json` prints.")],
    output: Output,
    issuer: Issuer = 1,
) -> None:
    """Propose another contract, of a higher version, in force from the next block on.

    Example: bkdms root propose contract in-force.json -o contract.json
    """
    _propose(ctx, output, issuer, lambda _state: read_body(file, NewContract))


@propose.command("rules")
def propose_rules(
    ctx: typer.Context,
    version: Annotated[int, typer.Argument(min=2, help="Version of the rules that blocks then follow.")],
    output: Output,
    issuer: Issuer = 1,
) -> None:
    """Propose other rules. Bring the release that knows them to all programs first: others stop before the next block.

    Example: bkdms root propose rules 2 -o rules.json
    """
    _propose(ctx, output, issuer, lambda _state: Rules(version))


@root.command()
def sign(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The proposal.")],
    root_key: Annotated[Path, typer.Option(help="Your root key.")],
    *,
    genesis: Annotated[
        Path | None, typer.Option(help="The chain's genesis file. (default: the setting genesis)")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it. (default: the same file)")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking again.")] = False,
) -> None:
    """Sign a proposal with your root key, on a machine of yours; needs the genesis file and no network.

    Shows what the record says, read from what you sign. Compare it with what you know from the others over another way.

    Example: bkdms root sign registrars.json --root-key root-2.json
    """
    settings = settings_of(ctx)
    chain, proposal = load_genesis(genesis or settings.genesis), read_proposal(file)
    problem = proposal_problem(chain, proposal)
    if problem is not None:
        raise ConfigError(f"{file} is refused: {problem}; ask for it anew", code="config.proposal")
    signer = key_files(settings).signer(root_key, Use.ROOT)
    if signer.public.fingerprint not in {key.fingerprint for key in chain.root_keys}:
        raise ConfigError(f"{root_key} is no root key of the genesis file", code="config.root_key")
    say(_told(proposal.body))
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is here to be asked; read what it says, and give --yes")
        typer.confirm("Sign this?", abort=True, err=True)
    signed = proposal.signed_by(signer)
    write_file(output or file, signed.encode())
    rest = missing(chain, signed) or "give it to `bkdms root submit`"
    say(f"{len(signed.signatures)} of {chain.root_threshold} have signed in {output or file}; {rest}")


@root.command()
def submit(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="The signed proposal, or copies signed side by side.")],
    json: JsonFlag = False,
) -> None:
    """Bring a proposal that enough have signed into the ledger; ends when it is in a verified block. Can be repeated.

    Exit code 1: signatures are missing; it says whose.

    Example: bkdms root submit registrars-anna.json registrars-ben.json
    """
    settings = settings_of(ctx)
    chain = load_genesis(settings.genesis)
    proposal = joined(chain, map(read_proposal, files))
    say(_told(proposal.body))
    done = asyncio.run(_submit(settings, proposal))
    if json:
        emit_json({"signatures": done.signatures, "needed": done.needed, "height": done.height})
    elif done.height is not None:
        say(f"{describe(proposal.body)} is in the ledger, which is at block {done.height}")
    if done.height is None:
        say(f"{done.signatures} of {done.needed} have signed: {missing(chain, proposal)}")
        raise typer.Exit(_FOUND_WRONG)


@root.command("new-key")
def new_key(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="New file for the private key, sealed as all keys are.")],
    use: Annotated[Literal["registrar", "node"], typer.Option("--for", help="What the key is for.")],
    *,
    mldsa44: Annotated[bool, typer.Option("--mldsa44", help="A node's post-quantum key.")] = False,
) -> None:
    """Make the key of a registrar or node to come, and print its public half for a proposal.

    Example: bkdms root new-key keys/registrar-2.json --for registrar
    """
    if mldsa44 and use != "node":
        raise ConfigError("only nodes have ML-DSA-44 keys")
    algorithm = Algorithm.MLDSA44 if mldsa44 else Algorithm.ED25519
    key = new_signing_key(Use[use.upper()], algorithm)
    key_files(settings_of(ctx)).save(file, key)
    say(f"made {file}, fingerprint {key.public.fingerprint.hex()}")
    print(key_text(key.public))


def _propose(ctx: typer.Context, output: Path, issuer: int, decide: Callable[[ChainState], RootBody]) -> None:
    state = asyncio.run(_state(settings_of(ctx)))
    proposal = proposed(state, chosen_root(state.genesis, issuer), decide(state))
    write_file(output, proposal.encode())
    say(_told(proposal.body))
    needed, number = state.genesis.root_threshold, root_number(state.genesis, proposal.issuer)
    say(f"{output} needs {needed} signatures, that of root key {number} among them: bkdms root sign {output}")


async def _state(settings: Settings) -> ChainState:
    async with open_root_desk(settings) as desk:
        return await desk.view.refresh()


async def _submit(settings: Settings, proposal: Proposal) -> Submitted:
    async with open_root_desk(settings) as desk:
        return await desk.submit(proposal)


def _told(body: RootBody) -> str:
    fields: dict[str, Any] = body_fields(body)
    return f"{describe(body)}:\n{json.dumps(fields, indent=2)}"
