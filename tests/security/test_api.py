"""The HTTP API: other people's data, paths out of the folder, SQL, unknown parameters, two requests in one."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

import httpx
import pytest

from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.names import SiteName, site_id_text
from tests.security.attack import Attack, Run
from tests.security.ground import Ground

pytestmark = [pytest.mark.stack, pytest.mark.security]
SQL: Final = ("' OR '1'='1", "x'; DROP TABLE assessments; --", "%27%20UNION%20SELECT%20*--", "\x00", "%", "_")
OUTSIDE: Final = (
    *("/tiles/../../etc/passwd", "/tiles/tile/../../../etc/passwd", "/tiles/tile/0/../../checkpoint"),
    *("/tiles/%2e%2e/%2e%2e/etc/passwd", "/tiles/tile/0/..%2f..%2f..%2fpki%2froot.key", "/tiles//etc/passwd"),
    *(
        "/tiles/tile/0/x001/../000",
        "/tiles/tile/0/000.p/%2e%2e",
        "/tiles/tile/\\..\\..\\x",
        "/tiles/policy.txt%00",
    ),
    *(
        "/subjects/../../etc/passwd/versions",
        "/schemas/ids/1%00",
        "/v1/trace/../../metrics",
        "/.env",
        "/docs",
    ),
)


def own_files(ground: Ground, name: SiteName) -> TlsFiles:
    """Return the transport certificate that goes with a site's name."""
    return ground.files(Role.SITE, site_principal(name).name)


async def ask(
    ground: Ground, files: TlsFiles, path: str, method: str = "GET", **more: object
) -> httpx.Response:
    """Ask the API with a certificate; the path goes out as it is written."""
    url = httpx.URL(ground.deployment.api_url, raw_path=path.encode("latin-1"))
    async with httpx.AsyncClient(verify=client_context(files), timeout=10) as client:
        return await client.request(method, url, **more)  # type: ignore[arg-type]


def head_of(name: SiteName) -> str:
    return f"/v1/sites/{name.country}/{name.city}/{site_id_text(name.site_id)}/head"


async def own_head(ground: Ground) -> str:
    name = ground.hostile.name
    return str((await ask(ground, own_files(ground, name), head_of(name))).status_code)


async def head_of_the_victim(ground: Ground) -> str:
    files = own_files(ground, ground.hostile.name)
    return str((await ask(ground, files, head_of(ground.victim.name))).status_code)


def asking(role: Role, path: str, method: str = "GET") -> Run:
    async def run(ground: Ground) -> str:
        return str((await ask(ground, ground.files(role, "hostile"), path, method)).status_code)

    return run


def all_answers(role: Role, paths: Callable[[Ground], list[str]]) -> Run:
    """Ask for everything; tell what was answered with 200, or with an error of the server's."""

    async def run(ground: Ground) -> str:
        files = ground.files(role, "hostile")
        answers = [(path, await ask(ground, files, path)) for path in paths(ground)]
        bad = [
            f"{path}: {answer.status_code}" for path, answer in answers if not 400 <= answer.status_code < 500
        ]
        return ", ".join(bad) or "refused, all of them"

    return run


def sql_in_paths(ground: Ground) -> list[str]:
    words = [quote(word, safe="%") for word in SQL]
    place = head_of(ground.victim.name)
    return [
        *(f"/v1/trace/{word}" for word in words),
        *(place.replace(ground.victim.name.city, word) for word in words),
        *(place.replace("/US/", f"/{word}/") for word in words),
        *(f"/schemas/ids/{word}" for word in words),
        *(f"/v1/assessments?limit={word}" for word in words),
        *(f"/v1/assessments?from={word}" for word in words),
        *(f"/v1/assessments?site={word}" for word in words),
        *(f"/v1/assessments?after={word}" for word in words),
        "/v1/assessments?hostile=1",
        "/v1/assessments?limit=99999999",
        "/v1/chain?x=1",
    ]


async def sql_in_texts(ground: Ground) -> str:
    """Conditions on free text may be anything; nothing is what has such a name."""
    files, found = ground.files(Role.ANALYST, "hostile"), []
    for key in ("country", "city", "indicator", "kind", "window"):
        for word in SQL[:2]:
            answer = await ask(ground, files, f"/v1/assessments?{key}={quote(word)}")
            if answer.status_code >= 500 or (answer.status_code == 200 and answer.json()["assessments"]):
                found.append(f"{key}: {answer.status_code}")
    rows = ground.query("SELECT count(*) FROM kpi_records")
    return ", ".join(found) or f"nothing found, tables {'there' if rows else 'gone'}"


async def raw(ground: Ground, request: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes of our own over a good connection; return what comes back."""
    port = int(ground.deployment.api_url.rpartition(":")[2])
    chosen = context or client_context(own_files(ground, ground.hostile.name))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=chosen, server_hostname="localhost")
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read()
    except TimeoutError:
        return b"no answer"
    finally:
        writer.close()


async def two_requests_in_one(ground: Ground) -> str:
    """Two lengths that differ: what one server takes for the body, another takes for a request."""
    inner = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = (
        b"POST /v1/chain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + inner
    )
    answer = await raw(ground, request)
    return f"{answer.count(b'HTTP/1.1 ')} answer, {'metrics' if b'bkdms_' in answer else 'no metrics'}"


async def endless_header(ground: Ground) -> str:
    request = b"GET /v1/chain HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"
    answer = await raw(ground, request)
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


def with_token(token: str) -> Run:
    """A bearer token that nobody issued, without any certificate's help."""

    async def run(ground: Ground) -> str:
        files = ground.files(Role.MONITOR, "hostile")
        headers = {"Authorization": f"Bearer {token}"}
        answer = await ask(ground, files, "/v1/assessments", headers=headers)
        return str(answer.status_code)

    return run


UNSIGNED: Final = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInNjb3BlIjoiKiIsImV4cCI6NDEwMjQ0NDgwMH0."
ATTACKS: Final = [
    Attack("a site at its own head (control)", "", "200", own_head),
    Attack("a site at another site's head", "DST-4", "403", head_of_the_victim),
    Attack("a site at assessments", "DST-4", "403", asking(Role.SITE, "/v1/assessments")),
    Attack("a site at metrics", "DST-4", "403", asking(Role.SITE, "/metrics")),
    Attack("a validator at assessments", "DST-8", "403", asking(Role.VALIDATOR, "/v1/assessments")),
    Attack(
        "an analyst deleting assessments", "DST-8", "405", asking(Role.ANALYST, "/v1/assessments", "DELETE")
    ),
    Attack("token without a signature", "DST-8", "401", with_token(UNSIGNED)),
    Attack("token that is none", "DST-8", "401", with_token("hostile")),
    Attack(
        "paths out of the folders",
        "DST-8",
        "refused, all of them",
        all_answers(Role.ANALYST, lambda _: list(OUTSIDE)),
    ),
    Attack(
        "SQL in paths and parameters",
        "DST-8",
        "refused, all of them",
        all_answers(Role.ANALYST, sql_in_paths),
    ),
    Attack("SQL in free-text conditions", "DST-8", "nothing found, tables there", sql_in_texts),
    Attack("two requests in one", "DST-8", "1 answer, no metrics", two_requests_in_one),
    Attack("header of 200 KB", "DST-2", "400", endless_header),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_request_that_must_not_be_answered(
    attack: Attack, see: Callable[[Attack], Awaitable[str]]
) -> None:
    assert await see(attack) == attack.expected
