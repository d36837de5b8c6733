"""Access to the API: every role, route and scope that is not granted is refused, paced and written down."""

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from ops.access_table import Scope, api_scopes
from ops.tls.principal import Principal, Role
from ops.tls.site_principal import site_principal
from pipeline.adapters.access_log_files import AccessLogFiles, log_files, read_lines
from pipeline.adapters.request_inbox import RequestInbox
from pipeline.adapters.tokens import TokenPlan, TokenVerifier, issue_token, public_jwks
from pipeline.apps.access_request_routes import RequestDesk
from pipeline.apps.api import create_api
from pipeline.apps.api_access import ApiAccess
from pipeline.apps.api_gate import OPENAPI_PATH, REFUSAL_COST, GateParts, address_of
from pipeline.apps.api_table import HEAD_ROUTE, ROUTES, Open
from pipeline.core.access_log import LogCheck, beginning, check_all
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import Place, Wanted
from pipeline.core.keys import Use
from pipeline.core.names import SiteName, site_id_text
from pipeline.core.permit import Action, Permit, everywhere
from pipeline.core.signing import Ed25519Signer
from pipeline.core.tracing import TracingCode
from pipeline.services.rate_limit import Rate, RateLimit
from tests.support.api import ApiCase, spoken_for
from tests.support.chain import Chain
from tests.support.world import secret
from tests.unit.test_tokens import AUDIENCE, ISSUER, Keys

SIGNER = Ed25519Signer(secret("token"), Use.TOKEN)
CITY = "unlocode:USMES"
ANALYST = Principal(Role.ANALYST, "maria")


class NoPages:
    """A store without assessments that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Wanted] = []

    def page(self, wanted: Wanted, after: Place | None, limit: int) -> list[Assessment]:
        self.asked.append(wanted)
        return []


class Case(ApiCase):
    """Two enrolled sites with a packet each, tokens, an access log."""

    def __init__(self, folder: Path) -> None:
        chain = Chain()
        self.sites = [chain.world.site(number) for number in (1, 2)]
        chain.enrol(*self.sites)
        chain.packets(*(site.packet([1]) for site in self.sites))
        super().__init__(folder / "view", chain)
        self.log_folder = folder / "log"
        self.pages = NoPages()
        self.parts.assessments = self.pages
        self.parts.tiles = folder / "tiles"
        self.parts.requests = RequestDesk(RequestInbox(folder / "inbox", 1_000))
        tokens = TokenVerifier(ISSUER, AUDIENCE, Keys(public_jwks([SIGNER.public])), 900)
        self.parts.access = ApiAccess(tokens)
        genesis = chain.world.genesis
        log = AccessLogFiles(self.log_folder, genesis.chain, max_bytes=10_000_000, keep=9)
        self.parts.gate = GateParts(log=log, now_ms=lambda: 1_790_000_000_000)

    @property
    def code(self) -> str:
        return str(TracingCode(self.chain.world.genesis.chain[:5], 2, 0))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for file in log_files(self.log_folder) for line in read_lines(file)]

    def close(self) -> None:
        super().close()
        assert self.parts.gate.log is not None
        self.parts.gate.log.close()


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    made = Case(tmp_path)
    await made.catch_up()
    yield made
    made.close()


def head(name: SiteName) -> str:
    return f"/v1/sites/{name.country}/{name.city}/{site_id_text(name.site_id)}/head"


def bearer(*permits: Permit, **changes: Any) -> dict[str, str]:
    made = {
        **{"issuer": ISSUER, "audience": AUDIENCE, "subject": "maria", "permits": permits},
        **{"issued_s": int(time.time()), "life_s": 600, "token_id": "1"},
    }
    return {"Authorization": f"Bearer {issue_token(SIGNER, TokenPlan(**{**made, **changes}))}"}


async def ask(
    case: ApiCase, path: str, principal: Principal | None = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    async with case.client(principal) as client:
        return await client.get(path, headers=headers)


def places(case: Case) -> dict[Action, str]:
    return {
        Action.HEADS: head(case.sites[0].name),
        Action.TRACES: f"/v1/trace/{case.code}",
        Action.ASSESSMENTS: "/v1/assessments",
        Action.METRICS: "/metrics",
    }


GRANTS = {
    Scope.HEAD_ANY: Action.HEADS,
    Scope.TRACES: Action.TRACES,
    Scope.ASSESSMENTS: Action.ASSESSMENTS,
    Scope.METRICS: Action.METRICS,
}


@pytest.mark.parametrize("role", list(Role))
async def test_a_certificate_gets_what_the_table_gives_its_role_and_nothing_else(
    case: Case, role: Role
) -> None:
    granted = {GRANTS[scope] for scope in api_scopes(role) if scope in GRANTS}
    for action, path in places(case).items():
        answer = await ask(case, path, Principal(role, "x"))
        expected = (200, None) if action in granted else (403, "role")
        error = answer.json()["error"] if answer.status_code != 200 else None
        assert (answer.status_code, error) == expected, (role, action)


async def test_a_site_gets_its_own_head_and_no_other(case: Case) -> None:
    first, second = (site.name for site in case.sites)
    mine = site_principal(first)
    assert (await ask(case, head(first), mine)).status_code == 200
    assert (await ask(case, head(second), mine)).status_code == 403
    for other in (
        first._replace(city="unlocode:USMEZ"),
        first._replace(country="DE"),
        first._replace(city=f"{first.city}/"),
    ):
        assert (await ask(case, head(other), mine)).status_code == 403
    assert (await ask(case, head(first), Principal(Role.ANALYST, mine.name))).status_code == 403


async def test_one_site_spelled_otherwise_is_the_same_site(case: Case) -> None:
    name = case.sites[0].name
    long = ":".join(name.site_id.hex()[i : i + 4] for i in range(0, 32, 4)).upper()
    path = f"/v1/sites/{name.country}/{name.city}/{long}/head"
    assert (await ask(case, path, site_principal(name))).status_code == 200
    where = (name.country, name.city, site_id_text(name.site_id))
    assert (await ask(case, path, headers=bearer(Permit(Action.HEADS, where)))).status_code == 200


async def test_nobody_gets_what_is_not_public(case: Case) -> None:
    for path in places(case).values():
        answer = await ask(case, path)
        assert (answer.status_code, answer.json()["error"]) == (401, "identity")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_what_is_public_needs_nobody(case: Case) -> None:
    for path in ("/v1/chain", "/health/live", "/health/ready", "/subjects", "/schemas/types", OPENAPI_PATH):
        assert (await ask(case, path)).status_code == 200, path


@pytest.mark.parametrize("granted", list(Action))
async def test_a_token_gets_what_its_scope_permits_and_nothing_else(case: Case, granted: Action) -> None:
    for action, path in places(case).items():
        answer = await ask(case, path, headers=bearer(everywhere(granted)))
        assert answer.status_code == (200 if action is granted else 403), (granted, action)


INDICATORS = ("LOCAL:TRAFFIC_SPEED", "LOCAL:AIR", "")
QUERIES = [
    {
        name: value
        for name, value in zip(("country", "city", "indicator"), values, strict=True)
        if value is not None
    }
    for values in itertools.product((None, "US", "DE"), (None, CITY), (None, *INDICATORS))
]


@pytest.mark.parametrize(
    "mine",
    [
        ("US", CITY, "LOCAL:AIR"),
        ("US", CITY, None),
        ("US", None, "LOCAL:AIR"),
        (None, None, "LOCAL:TRAFFIC_SPEED"),
        ("US", CITY, ""),
        (None, None, None),
    ],
)
async def test_a_token_for_one_indicator_reads_no_other(case: Case, mine: tuple[str | None, ...]) -> None:
    headers = bearer(Permit(Action.ASSESSMENTS, mine))
    async with case.client(None) as client:
        for query in QUERIES:
            asked = tuple(query.get(name) for name in ("country", "city", "indicator"))
            expected = all(m is None or m == a for m, a in zip(mine, asked, strict=True))
            before = len(case.pages.asked)
            answer = await client.get("/v1/assessments", params=query, headers=headers)
            assert answer.status_code == (200 if expected else 403), query
            assert len(case.pages.asked) - before == expected


async def test_two_scopes_do_not_add_up_to_a_third(case: Case) -> None:
    headers = bearer(
        Permit(Action.ASSESSMENTS, ("US", None, "LOCAL:AIR")), Permit(Action.ASSESSMENTS, ("DE", None, ""))
    )
    answer = await ask(case, "/v1/assessments?country=DE&indicator=LOCAL:AIR", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "scope")


async def test_a_token_never_adds_to_a_certificate(case: Case) -> None:
    answer = await ask(case, "/v1/assessments", ANALYST, bearer(everywhere(Action.TRACES)))
    assert (answer.status_code, answer.json()["error"]) == (403, "scope")


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (lambda: {"Authorization": "Bearer x"}, "token_malformed"),
        (lambda: {"Authorization": "Basic bWFyaWE6cHc="}, "token"),
        (lambda: {"Authorization": ""}, "token"),
        (lambda: bearer(everywhere(Action.METRICS), issuer="https://other.example"), "token_issuer"),
        (lambda: bearer(everywhere(Action.METRICS), audience="another"), "token_audience"),
        (lambda: bearer(everywhere(Action.METRICS), issued_s=int(time.time()) - 3600), "token_expired"),
        (lambda: bearer(everywhere(Action.METRICS), life_s=3600), "token_life"),
    ],
)
async def test_a_refused_token_is_refused_though_a_certificate_comes_with_it(
    case: Case, headers: Callable[[], dict[str, str]], error: str
) -> None:
    answer = await ask(case, "/metrics", Principal(Role.MONITOR, "x"), headers())
    assert (answer.status_code, answer.json()["error"]) == (401, error)


async def test_two_tokens_at_once_are_refused(case: Case) -> None:
    token = bearer(everywhere(Action.METRICS))["Authorization"]
    async with case.client(None) as client:
        answer = await client.get("/metrics", headers=[("Authorization", token), ("Authorization", token)])
    assert answer.status_code == 401


async def test_without_an_issuer_no_token_is_taken(case: Case) -> None:
    case.parts.access = ApiAccess()
    assert (await ask(case, "/metrics", headers=bearer(everywhere(Action.METRICS)))).status_code == 401


async def test_a_revoked_certificate_gets_nothing_from_its_next_request_on(case: Case) -> None:
    revoked: set[str] = set()
    case.parts.access = ApiAccess(is_revoked=lambda client: str(client.principal) in revoked)
    async with case.client(ANALYST) as client:
        assert (await client.get("/v1/assessments")).status_code == 200
        revoked.add(str(ANALYST))
        for path in ("/v1/assessments", "/v1/chain"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (403, "revoked")


def routes(router: Any) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "routes"):
            yield from routes(route)


async def test_every_route_has_its_row_and_every_row_its_route(case: Case) -> None:
    described = create_api(case.parts).openapi()["paths"]
    rows = {path.replace(":path}", "}") for path in ROUTES} - {OPENAPI_PATH}
    assert set(described) == rows
    for path, operations in described.items():
        wanted = {path.replace(":path}", "}"): wanted for path, wanted in ROUTES.items()}[path]
        expected: list[dict[str, list[str]]] = (
            [] if wanted is Open.PUBLIC else [{"certificate": []}, {"token": []}]
        )
        assert [operation["security"] for operation in operations.values()] == [expected]


async def test_a_route_that_nobody_declared_answers_nobody(case: Case) -> None:
    app = create_api(case.parts)
    router = APIRouter()

    @router.get("/v1/forgotten")
    async def forgotten() -> dict[str, str]:
        return {"secret": "value"}

    app.include_router(router)
    transport = httpx.ASGITransport(spoken_for(app, Principal(Role.REGISTRAR, "x")))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/v1/forgotten")
    assert (answer.status_code, answer.json()["error"]) == (403, "undeclared")


async def test_an_answer_that_no_guard_let_pass_does_not_leave(case: Case) -> None:
    from starlette.responses import PlainTextResponse  # noqa: PLC0415

    app = create_api(case.parts)
    app.add_route("/v1/plain", lambda _request: PlainTextResponse("secret"), methods=["GET"])
    transport = httpx.ASGITransport(spoken_for(app, Principal(Role.REGISTRAR, "x")))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/v1/plain")
    assert (answer.status_code, answer.json()["error"]) == (403, "undeclared")
    assert case.lines()[-1]["outcome"] == "undeclared"


@pytest.mark.parametrize(
    "path", ["/v1/chain?x=1", "/health/live?x=1", "/metrics?x=1", "/tiles/checkpoint?x=1"]
)
async def test_a_parameter_that_a_route_has_not_got_is_refused(case: Case, path: str) -> None:
    answer = await ask(case, path, Principal(Role.MONITOR, "x"))
    assert (answer.status_code, answer.json()["error"]) == (400, "parameter")


async def test_a_parameter_given_twice_is_refused(case: Case) -> None:
    headers = bearer(Permit(Action.ASSESSMENTS, (None, None, "LOCAL:AIR")))
    path = "/v1/assessments?indicator=LOCAL:TRAFFIC_SPEED&indicator=LOCAL:AIR"
    answer = await ask(case, path, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "parameter")
    assert not case.pages.asked


async def test_one_caller_is_paced_and_the_others_are_not(case: Case) -> None:
    now = [0.0]
    case.parts.access.callers = RateLimit(Rate(1, 3))
    case.parts.access.monotonic = lambda: now[0]
    async with case.client(ANALYST) as client:
        assert [(await client.get("/v1/chain")).status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = await client.get("/v1/chain")
        assert (answer.headers["Retry-After"], answer.json()["error"]) == ("3", "rate")
        assert (await ask(case, "/v1/chain", Principal(Role.ANALYST, "other"))).status_code == 200
        now[0] = float(answer.headers["Retry-After"])
        assert (await client.get("/v1/chain")).status_code == 200


async def test_one_address_is_paced_and_its_refused_requests_count_more(case: Case) -> None:
    case.parts.gate.addresses = RateLimit(Rate(0.001, 3 * REFUSAL_COST))
    async with case.client(None) as client:
        answers = [(await client.get("/metrics")).status_code for _ in range(4)]
        assert answers == [401, 401, 401, 429]
        assert (await client.get("/v1/chain")).headers["Retry-After"] == "60"
    assert [line["status"] for line in case.lines()] == [401, 401, 401]


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_that_one_may_change_between_count_together(first: str, second: str, is_one: bool) -> None:
    found = [address_of({"type": "http", "client": (host, 1)}) for host in (first, second)]
    assert (found[0] == found[1]) is is_one


async def test_every_request_is_written_down_with_who_what_and_outcome(case: Case) -> None:
    name = case.sites[0].name
    await ask(case, f"{head(name)}?packet=true", Principal(Role.REGISTRAR, "operator"))
    await ask(case, "/v1/assessments?indicator=LOCAL:AIR", headers=bearer(everywhere(Action.ASSESSMENTS)))
    await ask(case, "/v1/trace/HELLO", ANALYST)
    await ask(case, "/metrics", ANALYST)
    await ask(case, "/nothing/here?token=secret")
    found = [
        [line[key] for key in ("who", "via", "route", "status", "outcome")] + [line["asked"]]
        for line in case.lines()
    ]
    place = {"country": name.country, "city": name.city, "site_id": site_id_text(name.site_id)}
    assert found == [
        ["registrar:operator", "certificate", HEAD_ROUTE, 200, "answered", {**place, "packet": "true"}],
        ["token:maria", "token", "/v1/assessments", 200, "answered", {"indicator": "LOCAL:AIR"}],
        ["analyst:maria", "certificate", "/v1/trace/{code}", 400, "mistyped", {"code": "HELLO"}],
        ["analyst:maria", "certificate", "/metrics", 403, "role", {}],
        ["nobody", "none", "none", 404, "http", {}],
    ]


async def test_the_log_is_a_chain_and_holds_no_token(case: Case) -> None:
    headers = bearer(everywhere(Action.ASSESSMENTS))
    for _ in range(5):
        await ask(case, "/v1/assessments", headers=headers)
        await ask(case, f"/v1/assessments?access_token={headers['Authorization'][7:]}", headers=headers)
    raw = [line for file in log_files(case.log_folder) for line in read_lines(file)]
    assert check_all(raw, LogCheck(beginning(case.chain.world.genesis.chain))) is None
    assert len(raw) == 10
    token = headers["Authorization"][7:]
    for part in token.split("."):
        assert part.encode() not in b"".join(raw)


async def test_public_pages_are_written_down_where_that_is_wanted(case: Case) -> None:
    await ask(case, "/v1/chain")
    assert case.lines() == []
    case.parts.gate.log_public = True
    await ask(case, "/v1/chain")
    assert [line["route"] for line in case.lines()] == ["/v1/chain"]


async def test_what_cannot_be_written_down_is_not_answered(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.pwrite", lambda handle, line, size: 0)
    answer = await ask(case, places(case)[Action.HEADS], Principal(Role.REGISTRAR, "x"))
    monkeypatch.undo()
    assert (answer.status_code, answer.json()["error"]) == (503, "disk")
    assert "certificate" not in answer.text


async def test_answers_are_not_kept_by_caches_nor_guessed_at(case: Case) -> None:
    answer = await ask(case, places(case)[Action.ASSESSMENTS], ANALYST)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@asynccontextmanager
async def broken(case: Case) -> AsyncIterator[httpx.AsyncClient]:
    class Failing:
        """A store with a defect."""

        def page(self, wanted: Wanted, after: Place | None, limit: int) -> list[Assessment]:
            raise ZeroDivisionError("a secret detail")

    case.parts.assessments = Failing()
    async with case.client(ANALYST) as client:
        yield client


async def test_a_defect_is_answered_without_details_and_written_down(case: Case) -> None:
    async with broken(case) as client:
        answer = await client.get("/v1/assessments")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "secret" not in answer.text
    assert case.lines()[-1]["outcome"] == "internal"
