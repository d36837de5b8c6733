"""Becoming a site: requests played again, tokens used twice, and platforms other than the one a site was given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from ops.tls.holders import PKI_FOLDER
from pipeline.adapters.private_files import create_private
from pipeline.apps.deciding import Terms, decide, give_bundle
from pipeline.apps.desk import OpenDesk, open_desk
from pipeline.apps.enrolment import Given, Wish, ask, take_bundle, take_up
from pipeline.apps.local.settings_file import write_settings
from pipeline.config import Settings, load_settings
from pipeline.core.control import Revoke
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.names import site_id_text
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.services.access import AccessAnswer, write_answer
from pipeline.services.access_bundle import Platform, write_bundle
from pipeline.services.access_policy import AccessPolicy
from pipeline.services.registration import approve
from tests.security.attack import Attack
from tests.security.ground import INDICATORS, Ground
from tests.support.world import World, secret, site_name

pytestmark = [pytest.mark.stack, pytest.mark.security]

DAY_MS: Final = 86_400_000
LET_IN: Final = "let in"
NAME: Final = site_name(0xE9)
ROGUE: Final = Ed25519Signer(secret("rogue registrar"), Use.REGISTRAR)
POLICY: Final = AccessPolicy(
    frozenset({f"{NAME.country}/{NAME.city}"}), frozenset(INDICATORS), frozenset({Suite.LIGHT})
)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A site that was let in by its bundle and token; its request and answer are known to the attacker."""

    settings: Settings
    given: Given
    request: bytes
    answer: AccessAnswer


_newcomers: dict[int, Newcomer] = {}


def site_settings(ground: Ground, label: str) -> Settings:
    """The settings of a machine that wants to be the newcomer."""
    folder = ground.deployment.data_dir / "entering" / label
    file = folder / "bkdms.toml"
    folder.mkdir(parents=True, exist_ok=True)
    site = {"country": NAME.country, "city": NAME.city, "site_id": site_id_text(NAME.site_id)}
    return load_settings(
        write_settings(file, {"data_dir": folder, "keys": ground.deployment.keys_table(), "site": site})
    )


async def decided(opened: OpenDesk, ground: Ground, raw: bytes) -> AccessAnswer:
    """Decide on a request by policy, as `bkdms registrar approve --policy` does."""
    until = ground.now_ms() + DAY_MS
    pki = ground.deployment.data_dir / PKI_FOLDER
    terms = Terms(until, POLICY, pki, ca_keys=ground.deployment.keys)
    return await decide(
        opened,
        raw,
        terms,
        lambda request, reply: approve(opened.desk, request, opened.make_key, valid_to=until, reply=reply),
    )


async def newcomer(ground: Ground) -> Newcomer:
    """Let the newcomer in, once."""
    if id(ground) not in _newcomers:
        settings, now_ms = site_settings(ground, "newcomer"), ground.now_ms()
        folder = settings.data_dir
        async with open_desk(load_settings(ground.deployment.settings_file)) as opened:
            bundle, token = await give_bundle(opened, NAME, Platform(), now_ms + DAY_MS)
            given = Given(folder / "given.bundle.json", folder / "given.token")
            create_private(folder / "given.bundle.json", bundle)
            create_private(folder / "given.token", token.encode())
            request, _ = ask(settings, Wish((Suite.LIGHT,), INDICATORS), given, now_ms)
            answer = await decided(opened, ground, request)
            take_up(settings, write_answer(answer, opened.signer), ground.now_ms())
        _newcomers[id(ground)] = Newcomer(settings, given, request, answer)
    return _newcomers[id(ground)]


async def genuine(ground: Ground) -> str:
    """What the others imitate."""
    return LET_IN if (await newcomer(ground)).answer.site == NAME else "somebody else"


def refused(error: ConfigError) -> str:
    return f"refused: {error.code}"


async def sent_again(ground: Ground, raw: bytes) -> str:
    async with open_desk(load_settings(ground.deployment.settings_file)) as opened:
        try:
            await decided(opened, ground, raw)
        except ConfigError as error:
            return refused(error)
    return LET_IN


async def replayed(ground: Ground) -> str:
    """The newcomer's own request, byte for byte."""
    return await sent_again(ground, (await newcomer(ground)).request)


async def used_token(ground: Ground) -> str:
    """Another machine, another key, the same bundle and token."""
    genuine_site = await newcomer(ground)
    settings = site_settings(ground, "thief")
    raw, _ = ask(settings, Wish((Suite.LIGHT,), INDICATORS), genuine_site.given, ground.now_ms())
    return await sent_again(ground, raw)


async def after_revocation(ground: Ground) -> str:
    """Last of all: the newcomer is put out, and its request is played again by whoever kept it."""
    found = await newcomer(ground)
    await ground.issue(Revoke(NAME, found.answer.site_key, "test"))
    return await sent_again(ground, found.request)


def taken(settings: Settings, raw: bytes, now_ms: int) -> str:
    try:
        take_up(settings, raw, now_ms)
    except ConfigError as error:
        return refused(error)
    return "taken up"


async def rogue_answer(ground: Ground) -> str:
    """A rogue platform knows the request and answers it with keys of its own choice, signed by itself."""
    found = await newcomer(ground)
    return taken(found.settings, write_answer(found.answer, ROGUE), ground.now_ms())


async def rogue_bundle(ground: Ground) -> str:
    """A bundle of another chain, well signed, put to a site that has its genesis file."""
    found, other = await newcomer(ground), World()
    file = found.settings.data_dir / "rogue.bundle.json"
    registrar = other.registrar
    raw = write_bundle(
        other.genesis,
        NAME,
        (registrar.public,),
        Platform(),
        signer=registrar,
        expires_ms=ground.now_ms() + DAY_MS,
    )
    Path(file).write_bytes(raw)
    try:
        take_bundle(found.settings, file)
    except ConfigError as error:
        return refused(error)
    return "taken up"


ATTACKS: Final = [
    Attack("request with bundle and token (control)", "", LET_IN, genuine),
    Attack("access request played again", "DST-3", "refused: config.access_replayed", replayed),
    Attack("one-time token used by another machine", "DST-3", "refused: config.access_token", used_token),
    Attack("rogue platform answers a site's request", "DST-4", "refused: config.access", rogue_answer),
    Attack("rogue platform's bundle for a site", "DST-4", "refused: config.access_chain", rogue_bundle),
    Attack("revoked site's request played again", "DST-3", "refused: config.access_key", after_revocation),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_entry_that_must_not_be(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
