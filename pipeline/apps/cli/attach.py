"""``bkdms attach``: a consumer beside the platform gets a certificate, rights on the topics named, and settings."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.files import private_folder, write_private
from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import ADMIN
from ops.kafka.client_rights import client_bindings, client_group, granted_topics, is_denied
from ops.kafka.rights_file import keep_rights
from ops.revocation import revoke
from ops.tls.authority import LEAF_LIFETIME, Authority, CertificateFiles
from ops.tls.holders import PKI_FOLDER, certificate_folder, refuse_revoked
from ops.tls.principal import Principal, Role
from pipeline.apps import client_folder
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.pki import demand_room, running_settings
from pipeline.apps.cli.stack import DataDir
from pipeline.apps.cli.values import read_file
from pipeline.apps.client_folder import Attachment
from pipeline.apps.keys import key_files
from pipeline.config import Settings, default_data_dir, required
from pipeline.core.errors import ConfigError
from pipeline.core.topics import Topics


def attach(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The consumer's own name: letters, digits, '.', '_', '-'. (required)"
        ),
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC,…", help="What it may read, with commas: observations,blocks. (repeatable)"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for certificate and settings. (default: NAME)"),
    ] = None,
    data_dir: DataDir = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="A new certificate and these topics for a name that is attached.")
    ] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Take everything back at once; the name is not used again.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show who is attached, and to what.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Let a consumer read some topics: one command makes its certificate, its rights and its settings.

    Run it on the machine of the stack that `bkdms up` runs. The folder then holds certificate and key, bkdms.toml,
    properties for librdkafka and Java clients and for Kafka Connect, and a README: carry it to where the consumer
    runs. It may read these topics with consumer groups bkdms-client-NAME and bkdms-client-NAME:…, and nothing else.

    Observations and assessments hold plain values: who reads them belongs to the platform zone. Certificates last 30
    days. Kafka checks no revocation lists: --revoke denies everything to the name instead, at once and for good.

    Example: bkdms attach --name dashboard --topics observations,assessments -o dashboard
    """
    place = data_dir or default_data_dir()
    if list_:
        _list(place, json)
        return
    client = _client(name)
    if revoke:
        taken = _revoke(place, client)
        say(f"{client} may read nothing any more; it could read {', '.join(taken) or 'nothing'}")
        if json:
            emit_json({"principal": str(client), "revoked": taken})
        return
    folder = output or Path(client.name)
    demand_room(folder, renew)
    made = _attach(place, client, topics or [], folder, renew)
    if json:
        emit_json(
            {
                "principal": made.principal,
                "topics": made.topics,
                "group": made.group,
                "bootstrap": made.bootstrap,
                "api": made.api or None,
                "expires": made.expires,
                "folder": str(folder.resolve()),
            }
        )
        return
    say(f"{made.principal} may read {', '.join(made.topics)} until {made.expires}, in group {made.group}")
    say(f"all it needs is in {folder}; see {folder / client_folder.README}")


def _client(name: str | None) -> Principal:
    if name is None:
        raise ConfigError("say whom: bkdms attach --name NAME --topics TOPIC,…")
    try:
        return Principal(Role.CLIENT, name)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _topics(known: Topics, texts: Sequence[str]) -> tuple[str, ...]:
    wanted = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    found = {text: known.named(text) for text in wanted}
    missing = [text for text, topic in found.items() if topic is None]
    if missing or not wanted:
        what = f"there is no topic {missing[0]!r}" if missing else "say what it may read with --topics"
        raise ConfigError(f"{what}; choose from {', '.join(known.all())}")
    return tuple(topic for topic in known.all() if topic in found.values())


def _attach(
    data_dir: Path, client: Principal, wanted: Sequence[str], folder: Path, renew: bool
) -> Attachment:
    settings = running_settings(data_dir)
    topics = _topics(settings.topics, wanted)
    refuse_revoked(data_dir / PKI_FOLDER, client)
    admin = _admin(data_dir, settings)
    held = admin.bindings(client.kafka)
    if is_denied(held):
        raise ConfigError(f"{client} was revoked, and old certificates carry that name: choose another name")
    if held and not renew:
        raise ConfigError(f"{client} is attached already: choose another name, or replace it with --renew")
    now = datetime.now(UTC)
    made = Attachment(
        str(client),
        required(settings.kafka.bootstrap, "kafka.bootstrap"),
        settings.api.url or "",
        client_group(client),
        topics,
        settings.topic_prefix,
        f"{now + LEAF_LIFETIME:%Y-%m-%d}",
    )
    rights = client_bindings(client, topics)
    # Rights before the certificate, and old ones taken away after: a client is never without what it keeps.
    admin.add(rights - held)
    authority = Authority.load(data_dir / PKI_FOLDER, key_files(settings))
    _write(authority, client, made, folder, read_file(settings.genesis), now)
    admin.remove(held - rights)
    keep_rights(admin, data_dir)
    return made


def _write(
    authority: Authority, client: Principal, made: Attachment, folder: Path, genesis: bytes, now: datetime
) -> None:
    try:
        private_folder(folder)
        write_private(folder / client_folder.GENESIS, genesis)
        files = authority.issue(client, folder, now=now)
        write_private(
            folder / client_folder.KEYSTORE, files.key.read_bytes() + files.certificate.read_bytes()
        )
        for name, text in client_folder.texts(made).items():
            write_private(folder / name, text.encode())
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; name another folder") from None


def _revoke(data_dir: Path, client: Principal) -> list[str]:
    settings = running_settings(data_dir)
    held = _admin(data_dir, settings).bindings(client.kafka)
    if not held:
        raise ConfigError(f"{client} is not attached; `bkdms attach --list` shows who is")
    topics = granted_topics(held)[client]
    revoke(data_dir, client, reason="taken back by bkdms attach", now=datetime.now(UTC))
    return topics


def _list(data_dir: Path, json: bool) -> None:
    settings = running_settings(data_dir)
    found = granted_topics(_admin(data_dir, settings).bindings())
    by_name = {str(client): topics for client, topics in sorted(found.items(), key=lambda item: item[0].name)}
    if json:
        emit_json(by_name)
        return
    for client, topics in by_name.items():
        print(f"{client}  {', '.join(topics) or 'revoked'}")


def _admin(data_dir: Path, settings: Settings) -> KafkaAdmin:
    files = CertificateFiles.of(certificate_folder(data_dir, ADMIN))
    return KafkaAdmin(required(settings.kafka.bootstrap, "kafka.bootstrap"), files)
