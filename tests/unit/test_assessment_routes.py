"""``/v1/assessments``: for certificates of the roles that may see plain values, filtered and paged."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.sql.assess_reader import AssessmentReader
from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.certified_client import principal_of
from pipeline.apps.cli.serve import server_tls
from pipeline.config import ApiSettings
from pipeline.core.assess.document import parse_time, time_text
from tests.support.api import ApiCase
from tests.support.assessing import Assessing, settle
from tests.support.chain import Chain
from tests.unit.test_serve import served

READERS = {Role.ANALYST, Role.PLATFORM, Role.REGISTRAR, Role.ASSESS}
Get = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
async def assessed(tmp_path_factory: pytest.TempPathFactory) -> Assessing:
    made = Assessing(open_sqlite(tmp_path_factory.mktemp("assessed") / "store.sqlite", durable=False))
    await made.grow(0, 1, 30)
    await settle(made.worker())
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"), now=datetime.now(UTC))


def files(authority: Authority, folder: Path, role: Role) -> TlsFiles:
    found = authority.issue(Principal(role, "x"), folder / role.value, now=datetime.now(UTC))
    return TlsFiles(found.ca, found.certificate, found.key)


@pytest.fixture(scope="module")
def url(assessed: Assessing, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API with mutual TLS that reads the assessed store."""
    folder = tmp_path_factory.mktemp("api")
    case = ApiCase(folder / "view", Chain())
    case.parts.assessments = AssessmentReader(str(assessed.engine.url))
    own = files(authority, folder, Role.API)
    assert own.ca is not None
    clients = own.ca.with_name("clients.pem")
    settings = ApiSettings.model_validate({"ca": clients, "certificate": own.certificate, "key": own.key})
    with ExitStack() as stack:
        stack.callback(case.close)
        yield f"https://127.0.0.1:{stack.enter_context(served(case, server_tls(settings)))}/v1/assessments"


@pytest.fixture(scope="module")
def get(url: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """Asks as an analyst."""
    tls = client_context(files(authority, tmp_path_factory.mktemp("analyst"), Role.ANALYST))
    with httpx.Client(verify=tls) as client:
        yield lambda **query: client.get(url, params=query)


@pytest.mark.parametrize("role", list(Role))
def test_only_roles_that_may_see_plain_values_are_answered(
    url: str, authority: Authority, tmp_path: Path, role: Role
) -> None:
    answer = httpx.get(url, verify=client_context(files(authority, tmp_path, role)))
    if role in READERS:
        assert answer.status_code == 200
        assert answer.json()["assessments"]
    else:
        assert (answer.status_code, answer.json()["error"]) == (403, "role")
        assert "assessments" not in answer.json()


async def test_without_a_certificate_nothing_is_told(assessed: Assessing, tmp_path: Path) -> None:
    case = ApiCase(tmp_path, Chain())
    case.parts.assessments = AssessmentReader(str(assessed.engine.url))
    with served(case) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/assessments", headers={"X-Client": "analyst:x"})
    case.close()
    assert (answer.status_code, answer.json()["error"]) == (401, "identity")


def test_pages_together_are_all_assessments_each_once(get: Get, assessed: Assessing) -> None:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        page = get(**query).json()
        found += page["assessments"]
        assert len(found) <= len(assessed.heard())
        if "next" not in page:
            break
        assert len(page["assessments"]) == 7
        query["after"] = page["next"]
    assert len(found) == len(assessed.heard()) > 7
    keys = {tuple(item[name] for name in item if name not in ("value", "tracing_codes")) for item in found}
    assert len(keys) == len(found)
    assert [item["window_start"] for item in found] == sorted(item["window_start"] for item in found)


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ({"kind": "completeness"}, "kind", "completeness"),
        ({"indicator": "LOCAL:TRAFFIC_SPEED"}, "indicator", "LOCAL:TRAFFIC_SPEED"),
        ({"city": "unlocode:USMES"}, "city", "unlocode:USMES"),
        ({"country": "US"}, "country", "US"),
        ({"site": "fd00:0:0::1"}, "site_id", "fd00::1"),
        ({"site": ""}, "site_id", ""),
        ({"window": "hour"}, "window", "hour"),
    ],
)
def test_filters_choose(get: Get, assessed: Assessing, query: dict[str, str], field: str, value: str) -> None:
    found = get(**query, limit=1000).json()["assessments"]
    assert {item[field] for item in found} == {value}
    every = get(limit=1000).json()["assessments"]
    assert len(found) == sum(item[field] == value for item in every)


def test_windows_are_chosen_by_their_start(get: Get) -> None:
    every = get(limit=1000, window="hour").json()["assessments"]
    starts = sorted({item["window_start"] for item in every})
    found = get(limit=1000, window="hour", **{"from": starts[1], "to": starts[2]}).json()["assessments"]
    assert {item["window_start"] for item in found} == {starts[1]}


def test_a_figure_has_its_evidence(get: Get) -> None:
    (figure,) = get(kind="value", site="fd00::1", window="day", limit=1).json()["assessments"]
    assert (figure["exact"], figure["value"], figure["formula"]) == ("50", 50.0, "mean")
    assert figure["tracing_count"] == len(figure["tracing_codes"]) == 2
    assert len(bytes.fromhex(figure["tracing_digest"])) == 32


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"limit": "0"},
        {"limit": "1001"},
        {"after": "x"},
        {"after": "W10="},
        {"after": "WzEsMiwzLDQsNSw2LDcsOCw5XQ=="},
        {"after": "é"},
        {"site": "here"},
        {"cities": "x"},
        {"city": "x" * 300},
    ],
)
def test_a_wrong_parameter_is_refused(get: Get, query: dict[str, str]) -> None:
    answer = get(**query)
    assert (answer.status_code, answer.json()["error"]) == (400, "parameter")


async def test_a_store_that_is_not_there_yet_is_a_passing_state(authority: Authority, tmp_path: Path) -> None:
    case = ApiCase(tmp_path / "api", Chain())
    case.parts.assessments = AssessmentReader(f"sqlite:///{tmp_path}/none.sqlite")
    own = files(authority, tmp_path, Role.API)
    assert own.ca is not None
    clients = own.ca.with_name("clients.pem")
    settings = ApiSettings.model_validate({"ca": clients, "certificate": own.certificate, "key": own.key})
    tls = client_context(files(authority, tmp_path, Role.ANALYST))
    with served(case, server_tls(settings)) as port:
        answer = httpx.get(f"https://127.0.0.1:{port}/v1/assessments", verify=tls)
    case.close()
    assert (answer.status_code, answer.json()["error"]) == (503, "no_store")
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize(
    ("units", "names", "found"),
    [
        (["analyst"], ["analyst:x"], Principal(Role.ANALYST, "x")),
        (["analyst"], ["analyst:x", "site:y"], None),
        (["site"], ["admin:x"], None),
        (["site", "admin"], ["admin:x"], None),
        ([], ["analyst:x"], None),
        (["analyst"], ["analyst"], None),
        (["king"], ["king:x"], None),
        (["analyst"], ["analyst:"], None),
        (["analyst"], [], None),
    ],
)
def test_a_certificate_speaks_for_one_principal_or_for_none(
    units: list[str], names: list[str], found: Principal | None
) -> None:
    subject = (
        *((("organizationalUnitName", unit),) for unit in units),
        *((("commonName", name),) for name in names),
    )
    assert principal_of({"subject": subject}) == found
    assert principal_of(None) is None


def test_times_are_read_as_they_are_written() -> None:
    assert time_text(1_790_000_000_000) == "2026-09-21T14:13:20Z"
    assert parse_time("2026-09-21T14:13:20Z") == 1_790_000_000_000
    assert time_text(parse_time("0026-11-20T00Z") or 0) == "0026-11-20T00:00:00Z"
    assert parse_time("2026-09-21T16:13:20+02:00") == 1_790_000_000_000
    assert parse_time("2026-09-21") == 1_789_948_800_000
    assert parse_time("0001-01-01T00:00:00+10:00") is None
