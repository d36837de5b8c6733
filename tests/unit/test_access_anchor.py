"""Heads of the access log in the ledger: by the named key alone, after a check, each once; and the local issuer."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.adapters.access_log_files import AccessLogFiles, log_files
from pipeline.adapters.journal_file import JournalFile
from pipeline.adapters.token_keys import KeysInFile
from pipeline.adapters.tokens import TokenHolder, TokenProblem, TokenVerifier
from pipeline.apps.access_log_check import check_folder
from pipeline.apps.cli.root import main
from pipeline.apps.keys import key_files
from pipeline.apps.token_issuer import issuer_of, new_token, read_permits
from pipeline.config import Settings, load_settings
from pipeline.core.control import AccessLogHead, AccessLogKey
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.keys import Use
from pipeline.core.signing import Ed25519Signer
from pipeline.services.access_anchor import AccessLogDesk, is_due, known_heads, next_anchor
from pipeline.services.registry_view import RegistryView
from tests.support.chain import MemoryReader
from tests.support.office import Office
from tests.support.world import secret
from tests.unit.test_access_log import access

KEY = Ed25519Signer(secret("access log"), Use.ACCESS_LOG)
OTHER = Ed25519Signer(secret("another access log"), Use.ACCESS_LOG)
NOW_MS = 1_790_000_000_000


@dataclass
class LogOffice:
    """An office, and the desk of the access log's key beside it."""

    office: Office
    folder: Path

    def grow(self, count: int) -> None:
        chain = self.office.world.genesis.chain
        log = AccessLogFiles(self.folder, chain, max_bytes=2_000, keep=100)
        for number in range(count):
            log.append(access(number))
        log.close()

    async def appoint(self, signer: Ed25519Signer = KEY) -> None:
        with ExitStack() as stack:
            await self.office.desk(stack).issue(AccessLogKey(signer.public))

    @asynccontextmanager
    async def desk(self, signer: Ed25519Signer = KEY) -> AsyncIterator[tuple[AccessLogDesk, RegistryView]]:
        genesis = self.office.world.genesis
        view = RegistryView(genesis, MemoryReader(self.office.ledger.topic))
        with JournalFile(self.office.folder / "log.json", genesis.chain) as journal:
            yield AccessLogDesk(signer, genesis, view, journal, self.office.ledger), view

    async def anchor(self) -> int | str:
        """Anchor as the command does: the count, 0 for nothing new, or the problem."""
        async with self.desk() as (desk, view):
            await desk.settle()
            anchored = view.log_heads(KEY.public.fingerprint)
            found = check_folder(self.folder, self.office.world.genesis.chain, anchored)
            if found.problem is not None:
                return found.problem
            body = next_anchor(found.check, anchored, NOW_MS)
            if body is not None:
                await desk.issue(body)
            return 0 if body is None else body.count


@pytest.fixture
def office(tmp_path: Path) -> LogOffice:
    return LogOffice(Office(tmp_path), tmp_path / "log")


async def test_heads_of_a_growing_log_get_into_the_ledger_once_each(office: LogOffice) -> None:
    await office.appoint()
    office.grow(20)
    assert await office.anchor() == 20
    assert await office.anchor() == 0
    office.grow(5)
    assert await office.anchor() == 25
    heads = [control.body for control in office.office.ledger.controls[1:]]
    assert [head.count for head in heads if isinstance(head, AccessLogHead)] == [20, 25]


async def test_without_a_named_key_nothing_is_anchored(office: LogOffice) -> None:
    office.grow(1)
    with pytest.raises(ConfigError, match="registrar access-log-key"):
        await office.anchor()
    await office.appoint(OTHER)
    with pytest.raises(ConfigError, match="registrar access-log-key"):
        await office.anchor()


async def test_the_key_of_the_log_can_issue_nothing_else(office: LogOffice) -> None:
    await office.appoint()
    async with office.desk() as (desk, _):
        with pytest.raises(ConfigError, match="would refuse"):
            await desk.issue(AccessLogKey(OTHER.public))


async def test_a_log_that_was_edited_after_it_was_anchored_is_found_and_not_anchored(
    office: LogOffice,
) -> None:
    await office.appoint()
    office.grow(20)
    await office.anchor()
    for file in log_files(office.folder):
        file.unlink()
    chain = office.office.world.genesis.chain
    log = AccessLogFiles(office.folder, chain, max_bytes=2_000, keep=100)
    for number in range(30):
        log.append(access(number, "somebody:else"))
    log.close()
    found = await office.anchor()
    assert isinstance(found, str)
    assert "ledger" in found


async def test_a_log_that_was_cut_is_found(office: LogOffice) -> None:
    await office.appoint()
    office.grow(40)
    await office.anchor()
    log_files(office.folder)[-1].unlink()
    found = await office.anchor()
    assert isinstance(found, str)
    assert "it was cut" in found


async def test_files_that_were_kept_long_enough_are_not_missed(office: LogOffice) -> None:
    await office.appoint()
    office.grow(40)
    await office.anchor()
    log_files(office.folder)[0].unlink()
    office.grow(1)
    assert await office.anchor() == 41


def test_a_line_that_the_api_is_writing_is_left_for_the_next_time(office: LogOffice) -> None:
    office.grow(3)
    file = log_files(office.folder)[-1]
    file.write_bytes(file.read_bytes() + b'{"n":4')
    assert check_folder(office.folder, office.office.world.genesis.chain).problem is None


def test_two_heads_at_one_line_are_a_contradiction() -> None:
    with pytest.raises(IntegrityError, match="two heads"):
        known_heads([AccessLogHead(3, bytes(32), 1), AccessLogHead(3, bytes(31) + b"\x01", 2)])


def test_a_head_is_due_after_a_day() -> None:
    assert is_due([], NOW_MS)
    assert not is_due([AccessLogHead(1, bytes(32), NOW_MS - 86_399_999)], NOW_MS)
    assert is_due([AccessLogHead(1, bytes(32), NOW_MS - 86_400_000)], NOW_MS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "bkdms.toml"
    jwks = tmp_path / "data" / "access" / "jwks.json"
    file.write_text(f'data_dir = "data"\n[access]\nissuer = "https://local"\njwks_file = "{jwks}"\n')
    return load_settings(file)


def verifier(settings: Settings) -> TokenVerifier:
    assert settings.access.jwks_file is not None
    return TokenVerifier("https://local", "bkdms", KeysInFile(settings.access.jwks_file), 900)


async def test_tokens_of_a_rotated_key_stay_good_until_they_end_and_those_of_a_lost_one_do_not(
    settings: Settings,
) -> None:
    issuer = issuer_of(settings.access, key_files(settings))
    permits = read_permits(["traces"])
    first = new_token(settings.access, issuer, "maria", permits, 600)
    tokens = verifier(settings)
    assert isinstance(await tokens.verify(first), TokenHolder)
    issuer.rotate(is_lost=False)
    second = new_token(settings.access, issuer, "maria", permits, 600)
    assert isinstance(await tokens.verify(first), TokenHolder)
    assert isinstance(await tokens.verify(second), TokenHolder)
    issuer.rotate(is_lost=True)
    assert await tokens.verify(second) is TokenProblem.UNKNOWN_KEY


def test_a_token_is_printed_and_kept_nowhere(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main_of = ["--config", str(tmp_path / "bkdms.toml"), "token", "issue", "maria", "--scope", "traces"]
    with pytest.raises(SystemExit) as ended:
        main([*main_of, "--json"])
    assert ended.value.code == 0
    token = json.loads(capsys.readouterr().out)["token"]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(part.encode() in content for part in token.split(".") for content in files)


@pytest.mark.parametrize(
    ("holder", "scope", "life_s", "words"),
    [
        ("maria", "everything", 600, "is no scope"),
        ("maria", "assessments", 600, "is no scope"),
        ("mar\nia", "traces", 600, "printable"),
        ("maria", "traces", 901, "at most 900 s"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(
    settings: Settings, holder: str, scope: str, life_s: int, words: str
) -> None:
    issuer = issuer_of(settings.access, key_files(settings))
    with pytest.raises(ConfigError, match=words):
        new_token(settings.access, issuer, holder, read_permits([scope]), life_s)
