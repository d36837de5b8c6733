"""Access requests over HTTP: kept for the registrar as if carried, told nothing by, and refused by sites that were led
to somebody else."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.access_log_files import AccessLogFiles
from pipeline.adapters.request_inbox import (
    ANSWERED_KEPT_MS,
    WAITING_KEPT_MS,
    RequestInbox,
    request_name,
)
from pipeline.adapters.tls import TlsFiles, server_context
from pipeline.apps.access_request_routes import RequestDesk
from pipeline.apps.api import create_api
from pipeline.apps.cli import main
from pipeline.core.errors import TransientError
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.signing import Signer
from pipeline.services.access_envelope import MAX_DOCUMENT_BYTES
from pipeline.services.rate_limit import Rate, RateLimit
from tests.support.access import request_of
from tests.support.api import ApiCase
from tests.support.chain import Chain
from tests.unit.test_enrolment import NAME, TOKEN, Place, answered, bundle_of
from tests.unit.test_serve import served

PATH = "/v1/access-requests"


class Case(ApiCase):
    """An API with an inbox and an access log; ``limit`` requests fit into it."""

    def __init__(self, folder: Path, limit: int = 5) -> None:
        super().__init__(folder / "view", Chain())
        self.inbox = RequestInbox(folder / "inbox", limit)
        unlimited = RateLimit[str](Rate(1e6, 1_000_000))
        self.parts.requests = RequestDesk(self.inbox, unlimited)
        self.parts.gate.log = AccessLogFiles(
            folder / "log", self.chain.world.genesis.chain, max_bytes=10**7, keep=9
        )
        self.log_folder = folder / "log"

    @property
    def request(self) -> bytes:
        """A good request."""
        return request_of(self.chain.world.genesis, self.chain.world.site(1))

    def files(self) -> list[str]:
        """What is in the inbox."""
        return sorted(path.name for path in self.inbox.folder.glob("*"))

    @cached_property
    def app(self) -> FastAPI:
        """The application, made once."""
        return create_api(self.parts)

    def close(self) -> None:
        super().close()
        assert self.parts.gate.log is not None
        self.parts.gate.log.close()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


async def post(case: Case, body: Any) -> httpx.Response:
    async with case.client(None) as client:
        return await client.post(PATH, content=body)


async def get(case: Case, name: str) -> httpx.Response:
    async with case.client(None) as client:
        return await client.get(f"{PATH}/{name}")


async def test_a_request_is_kept_byte_for_byte_and_the_same_again_changes_nothing(case: Case) -> None:
    raw = case.request
    first, second = await post(case, raw), await post(case, raw)
    assert (first.status_code, first.json()) == (202, {"request": request_name(raw)})
    assert second.content == first.content
    assert [item.path.read_bytes() for item in case.inbox.requests()] == [raw]
    assert case.inbox.requests()[0].path.stat().st_mode & 0o077 == 0


async def test_what_the_answer_says_does_not_depend_on_who_asks(case: Case) -> None:
    """Known site or not, with a token or not: the API neither knows nor tells."""
    world = case.chain.world
    case.chain.enrol(world.site(1))
    await case.catch_up()
    answers = [await post(case, request_of(world.genesis, world.site(number))) for number in (1, 2)]
    assert {answer.status_code for answer in answers} == {202}
    assert {tuple(answer.json()) for answer in answers} == {("request",)}


async def test_no_answer_yet_looks_like_a_request_that_never_was(case: Case) -> None:
    name = (await post(case, case.request)).json()["request"]
    waiting, unknown = await get(case, name), await get(case, "0" * 64)
    assert (waiting.status_code, waiting.content) == (404, unknown.content)


async def test_the_answer_beside_the_request_is_served_once_it_is_whole(case: Case) -> None:
    name = (await post(case, case.request)).json()["request"]
    file = case.inbox.requests()[0].path.with_suffix(".answer.json")
    file.write_bytes(b'{"format": "bkdms-access-ans')
    assert (await get(case, name)).status_code == 404
    file.write_bytes(b'{"format": "x"}\n')
    assert (await get(case, name)).content == b'{"format": "x"}\n'
    assert [item.is_answered for item in case.inbox.requests()] == [True]


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fview", "x" * 64, "A" * 64, "0" * 63, "%00" + "0" * 63])
async def test_no_name_leads_out_of_the_inbox(case: Case, name: str) -> None:
    await post(case, case.request)
    assert (await get(case, name)).status_code in (404, 403)


def changed(raw: bytes, **content: Any) -> bytes:
    document = json.loads(raw)
    document["content"] |= content
    return json.dumps(document).encode()


async def test_what_is_no_good_request_is_refused_and_not_kept(case: Case) -> None:
    raw = case.request
    deep = b'{"format": "bkdms-access-request/v2", "signature": "00", "content": {"x":' + b"[" * 60_000
    bad = [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        deep + b"]" * 60_000 + b"}}",
        raw[:-20],
        changed(raw, indicators=["LOCAL:OTHER"]),
        changed(raw, chain="00" * 32),
        changed(raw, public="00" * 32),
        changed(raw, time_ms=1e99),
        changed(raw, manifest={"agent": "\ud800", "modules": [], "sensors": [], "suites": []}),
    ]
    for body in bad:
        answer = await post(case, body)
        assert (answer.status_code, answer.json()["error"]) == (400, "access_request")
    assert case.files() == []


async def test_nesting_that_the_reader_bears_is_refused_as_well(case: Case) -> None:
    for depth in range(900, 1000, 20):
        body = b'{"format": "bkdms-access-request/v2", "signature": "00", "content": {"x":' + b"[" * depth
        assert (await post(case, body + b"]" * depth + b"}}")).status_code == 400


async def test_a_body_is_bounded_whatever_its_length_is_said_to_be(case: Case) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 60_000

    for body in (b" " * (MAX_DOCUMENT_BYTES + 1), endless()):
        answer = await post(case, body)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_one_address_may_send_so_many_and_the_others_still_do(case: Case) -> None:
    assert case.parts.requests is not None
    case.parts.requests.addresses = RateLimit[str](Rate(1 / 3600, 2))
    case.parts.requests.monotonic = lambda: 1.0
    statuses = [(await post(case, case.request)).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]
    assert (await get(case, "0" * 64)).status_code == 404
    other = httpx.ASGITransport(case.app, client=("192.0.2.9", 1))
    async with httpx.AsyncClient(transport=other, base_url="http://api") as client:
        assert (await client.post(PATH, content=case.request)).status_code == 202


async def test_a_full_inbox_asks_to_come_again_and_keeps_what_it_has(tmp_path: Path) -> None:
    case = Case(tmp_path, limit=1)
    world, raw = case.chain.world, case.request
    await post(case, raw)
    answer = await post(case, request_of(world.genesis, world.site(2)))
    assert (answer.status_code, answer.json()["error"]) == (503, "inbox_full")
    assert "Retry-After" in answer.headers
    assert (await post(case, raw)).status_code == 202
    assert len(case.files()) == 1
    case.close()


async def test_each_request_is_in_the_access_log_by_name_and_without_its_content(case: Case) -> None:
    name = (await post(case, case.request)).json()["request"]
    await post(case, b"{}")
    log = b"".join(path.read_bytes() for path in case.log_folder.glob("*.jsonl"))
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["route"], line["status"], line["asked"].get("request")) for line in lines] == [
        (PATH, 202, name),
        (PATH, 400, None),
    ]
    assert json.loads(case.request)["signature"].encode() not in log


async def test_an_api_without_an_inbox_has_no_such_route(tmp_path: Path) -> None:
    case = ApiCase(tmp_path / "view", Chain())
    raw = request_of(case.chain.world.genesis, case.chain.world.site(1))
    async with case.client(None) as client:
        assert (await client.post(PATH, content=raw)).status_code == 404
    case.close()


def test_what_waits_too_long_and_what_was_answered_long_ago_is_removed(tmp_path: Path) -> None:
    inbox, now_ms = RequestInbox(tmp_path / "inbox", 9), 10**12
    names = [inbox.put(text, now_ms) for text in (b"waiting", b"answered", b"young")]
    for item in inbox.requests():
        is_young = item.name == names[2]
        came_s = (now_ms - (0 if is_young else WAITING_KEPT_MS + 1000)) / 1000
        os.utime(item.path, (came_s, came_s))
    answer = tmp_path / "inbox" / f"{names[1]}.request.answer.json"
    answer.write_text("{}")
    inbox.put(b"new", now_ms)
    assert {item.name for item in inbox.requests()} == {names[1], names[2], request_name(b"new")}
    inbox.put(b"newer", now_ms + ANSWERED_KEPT_MS)
    assert not answer.exists()


def test_a_disk_that_fails_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("a file where the folder should be")
    with pytest.raises(TransientError) as failed:
        RequestInbox(tmp_path / "inbox", 9).put(b"x", 0)
    assert failed.value.code == "inbox"


class Platform:
    """An API over real TLS, certified by an authority of its own."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        self.case = Case(folder)
        self.authority = Authority.create(folder / "ca", now=now)
        own = self.authority.issue(Principal(Role.API, "api"), folder / "tls", now=now)
        self.context = server_context(TlsFiles(None, own.certificate, own.key))

    @property
    def ca(self) -> str:
        """What a bundle pins."""
        return self.authority.trusted_by(Principal(Role.SITE, "any")).decode()

    def decide(self, signer: Signer | None = None) -> None:
        """Answer what is in the inbox, as a registrar does."""
        registrar = signer or self.case.chain.world.registrar
        for item in self.case.inbox.requests():
            answer = answered(item.path.read_bytes(), registrar, expires_ms=MAX_TIME_MS)
            item.path.with_suffix(".answer.json").write_bytes(answer)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[tuple[Platform, str]]:
    """A served platform and its address."""
    made = Platform(tmp_path / "platform")
    with served(made.case, made.context) as port:
        yield made, f"https://127.0.0.1:{port}"
    made.case.close()


@pytest.fixture
def place(tmp_path: Path, platform: tuple[Platform, str]) -> Place:
    """A site's machine, to which bundle and token of the platform were carried."""
    (tmp_path / "site").mkdir()
    made = Place(tmp_path / "site")
    made.given(bundle_of(ca=platform[0].ca), TOKEN)
    return made


def run(place: Place, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(place.folder / "bkdms.toml"), "site", *arguments])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def ask(place: Place, url: str, *more: str) -> int:
    given = ("--bundle", str(place.folder / "b.json"), "--token-file", str(place.folder / "t"))
    return run(place, "request", "--send", url, "--indicator", "LOCAL:TRAFFIC_SPEED", *given, *more)


def test_a_site_asks_and_takes_up_the_answer_over_https(
    platform: tuple[Platform, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    served_by, url = platform
    assert ask(place, url, "--json") == 0
    sent = json.loads(capsys.readouterr().out)["sent"]
    assert served_by.case.files() == [f"{sent}.request.json"]
    assert run(place, "accept", "--fetch") == 1
    assert "not answered yet" in capsys.readouterr().err
    served_by.decide()
    assert run(place, "accept", "--fetch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["site"] == str(NAME)
    assert place.settings.site.access.exists()


def test_the_same_request_is_sent_once_more_when_nobody_answered(
    platform: tuple[Platform, str], place: Place
) -> None:
    served_by, url = platform
    assert ask(place, "https://127.0.0.1:1") == 1
    made = place.files.request.read_bytes()
    assert run(place, "request", "--send", url, "--again") == 0
    assert [item.path.read_bytes() for item in served_by.case.inbox.requests()] == [made]


def test_a_platform_of_another_authority_gets_nothing_from_the_site(
    tmp_path: Path, platform: tuple[Platform, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rogue = Platform(tmp_path / "rogue")
    with served(rogue.case, rogue.context) as port:
        assert ask(place, f"https://127.0.0.1:{port}") == 1
        assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
    assert rogue.case.files() == []
    assert not place.files.sent.exists()
    rogue.case.close()


def test_a_rogue_answer_from_the_right_address_is_not_taken_up(
    platform: tuple[Platform, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    served_by, url = platform
    ask(place, url)
    served_by.decide(served_by.case.chain.world.site(3).signer)
    assert run(place, "accept", "--fetch") == 2
    assert "no registrar of this chain signed it" in capsys.readouterr().err
    assert not place.settings.site.access.exists()


def test_plain_http_and_a_bundle_without_an_authority_are_refused(
    platform: tuple[Platform, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(place, platform[1].replace("https", "http")) == 2
    assert "https:// alone" in capsys.readouterr().err
    (place.folder / "b.json").write_bytes(bundle_of())
    assert ask(place, platform[1]) == 2
    assert "pins the platform's transport" in capsys.readouterr().err


def test_user_mistakes_are_told_in_a_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (("request", "--indicator", "LOCAL:TRAFFIC_SPEED"), "where is the request to go"),
        (("accept",), "say --fetch"),
        (("accept", "--fetch"), "no request was sent from here"),
        (("request", "--again", "-o", "x"), "no request was made here"),
    ):
        assert run(place, *arguments) == 2
        told = capsys.readouterr().err
        assert message in told
        assert "Traceback" not in told


def test_the_registrar_sees_what_waits(
    tmp_path: Path, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    case.inbox.put(case.request, 0)
    case.inbox.put(b"not a request", 0)
    (tmp_path / "genesis.json").write_bytes(case.chain.world.genesis.raw)
    file = tmp_path / "desk.toml"
    file.write_text('genesis = "genesis.json"\n[access]\ninbox = "inbox"\n')
    with pytest.raises(SystemExit):
        main(["--config", str(file), "registrar", "requests", "--json"])
    rows = json.loads(capsys.readouterr().out)["requests"]
    assert sorted(row["site"].split()[0] for row in rows) == sorted(
        [str(case.chain.world.site(1).name), "access"]
    )
    with pytest.raises(SystemExit):
        main(["--config", str(file), "registrar", "requests"])
    assert "NO TOKEN" in capsys.readouterr().out
