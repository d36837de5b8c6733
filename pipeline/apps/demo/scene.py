"""Who takes part in the demonstration: sites with their keys, settings and rights, all in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes

from connectors.samples import SampleSite, sample_sites
from ops.tls.site_principal import site_principal
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.key_files import KeyFiles
from pipeline.apps.authority import load_genesis
from pipeline.apps.desk import OpenDesk, open_desk
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.apps.local.settings_file import write_settings
from pipeline.config import load_settings
from pipeline.core.control import BackfillGrant, Body, Revoke
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import SiteName, site_id_text
from pipeline.core.sealing import SEALING_ALGORITHM, Suite
from pipeline.core.signing import Signer
from pipeline.services.access import (
    NONCE_BYTES,
    AccessRequest,
    Moment,
    read_request,
    write_answer,
    write_request,
)
from pipeline.services.registrar import enrolment, key_offer
from pipeline.services.registration import Reply, answer_for

_VALID = timedelta(days=30)
_GRANT_VALID = timedelta(days=1)
_ANSWER_VALID_MS = 86_400_000
INSIDER = SiteName("US", "unlocode:USMES", bytes.fromhex("fd620000000000000000000000000bad"))
REVOKED = SiteName("US", "unlocode:USMES", bytes.fromhex("fd62000000000000000000000000dead"))
_HEAD_POLL_MS = 1_000
_RESEND_MS = 5_000
_SUITES = (Suite.XWING, Suite.LIGHT)


@dataclass(frozen=True, slots=True)
class Actor:
    """A site on the scene: its name, key, suite, and where its files are."""

    label: str
    name: SiteName
    signer: Signer
    suite: Suite
    folder: Path

    @property
    def settings_file(self) -> Path:
        """Settings of its agent."""
        return self.folder / "bkdms.toml"


@dataclass(frozen=True, slots=True)
class Scene:
    """Everybody: the sites that feed the ledger, and two enrolled sites that misbehave."""

    genesis: Genesis
    sites: tuple[Actor, ...]
    insider: Actor
    revoked: Actor


async def set_scene(
    deployment: LocalDeployment, packet_records: int, samples: Sequence[SampleSite] = ()
) -> Scene:
    """Make the sites' keys, enrol all of them in one go, grant the backfill, revoke one again.

    ``packet_records`` is the most records that a site puts into a packet; ``samples`` are the bundled sites where none
    are given.
    """
    genesis = load_genesis(deployment.chain.genesis_file)
    folder, keys = deployment.data_dir / "sites", deployment.keys
    samples = samples or sample_sites()
    sites = tuple(
        _actor(keys, folder, sample.name, sample.site, _SUITES[number % len(_SUITES)])
        for number, sample in enumerate(samples)
    )
    insider = _actor(keys, folder, "insider", INSIDER, Suite.LIGHT)
    revoked = _actor(keys, folder, "revoked", REVOKED, Suite.LIGHT)
    indicators = {sample.site: sample.indicators for sample in samples}
    async with open_desk(load_settings(deployment.settings_file)) as desk:
        everyone = (*sites, insider, revoked)
        now_ms = SystemClock().now_ms()
        bodies: list[Body] = []
        asked: dict[SiteName, bytes] = {}
        for actor in everyone:
            granted = indicators.get(actor.name, samples[0].indicators)
            request = _request(desk, actor, granted, now_ms)
            asked[actor.name] = request.digest
            bodies += _admission(desk, actor, request)
        bodies += [_backfill(sample) for sample in samples]
        bodies.append(Revoke(REVOKED, revoked.signer.public.fingerprint, "demonstration"))
        await desk.desk.issue(*bodies)
        state = await desk.desk.settle()
        for actor in (*sites, insider):
            reply = Reply(asked[actor.name], now_ms, now_ms + _ANSWER_VALID_MS)
            answer = write_answer(answer_for(state, actor.name, reply), desk.signer)
            (actor.folder / "access.json").write_bytes(answer)
    for actor, sample in zip(sites, samples, strict=True):
        _write_settings(deployment, actor, sample, packet_records)
    return Scene(genesis, sites, insider, revoked)


def _actor(keys: KeyFiles, folder: Path, label: str, name: SiteName, suite: Suite) -> Actor:
    own = folder / label
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = keys.signer_or_new(own / "key.json", Use.SITE, Algorithm.ED25519)
    return Actor(label, name, signer, suite, own)


def _request(desk: OpenDesk, actor: Actor, indicators: tuple[str, ...], now_ms: int) -> AccessRequest:
    """Return the same signed request that a site sends."""
    moment = Moment(token_bytes(NONCE_BYTES), now_ms)
    raw = write_request(
        desk.genesis,
        actor.name,
        actor.signer,
        suites=(actor.suite,),
        indicators=indicators,
        moment=moment,
    )
    return read_request(raw, desk.genesis)


def _admission(desk: OpenDesk, actor: Actor, request: AccessRequest) -> list[Body]:
    """Return enrolment and key offer."""
    key = desk.make_key(SEALING_ALGORITHM[actor.suite])
    valid_to = int((datetime.now(UTC) + _VALID).timestamp() * 1000)
    return [enrolment(request), key_offer(actor.name, 1, key, valid_to)]


def _backfill(sample: SampleSite) -> BackfillGrant:
    """Grant the years from 2000 on: the bundled measurements keep their original times."""
    first = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)
    now = datetime.now(UTC)
    return BackfillGrant(
        sample.site,
        first,
        int(now.timestamp() * 1000),
        int((now + _GRANT_VALID).timestamp() * 1000),
    )


def _write_settings(
    deployment: LocalDeployment, actor: Actor, sample: SampleSite, packet_records: int
) -> None:
    """Write what an integrator would: where Kafka and the API are, which file is read how."""
    principal = site_principal(actor.name)
    certificate = deployment.table(deployment.stack.credentials(principal.role, principal.name))
    write_settings(
        actor.settings_file,
        {
            "data_dir": actor.folder,
            "topic_prefix": deployment.plan.chain.topic_prefix,
            "genesis": deployment.chain.genesis_file,
            "keys": deployment.keys_table(),
            "kafka": deployment.kafka_table(principal.role, principal.name),
            "api": {"url": deployment.api_url, **certificate},
            "site": {
                "country": actor.name.country,
                "city": actor.name.city,
                "site_id": site_id_text(actor.name.site_id),
                "module_id": f"bkdms-{actor.label}",
                "key": actor.folder / "key.json",
                "access": actor.folder / "access.json",
                "spool": actor.folder / "spool.sqlite",
                "source": sample.path,
                "packet_records": packet_records,
                "head_poll_ms": _HEAD_POLL_MS,
                "linger_ms": 0,
                "resend_after_ms": _RESEND_MS,
                "mapping": sample.settings,
            },
        },
    )
