"""The API under schemathesis, which knows it by its own description: no defect, nothing undescribed, no way around."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from ops.tls.principal import Principal, Role
from pipeline.apps.api import create_api
from pipeline.apps.api_gate import OPENAPI_PATH
from pipeline.apps.api_table import ROUTES, Open
from pipeline.core.permit import Action
from pipeline.services.rate_limit import Rate, RateLimit
from tests.support.api import spoken_for
from tests.unit.test_api_access import Case, bearer

EXAMPLES = 3
"""For each route, caller and kind of request: enough to go through all of them at every run."""
MANY = 25
REFUSALS = {400, 401, 403, 404, 405}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HURRIED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
CALLERS: dict[str, tuple[Principal | None, Callable[[], dict[str, str]]]] = {
    "nobody": (None, dict),
    "a token without scopes": (None, bearer),
    "a validator": (Principal(Role.VALIDATOR, "x"), dict),
    "a registrar": (Principal(Role.REGISTRAR, "x"), dict),
    "a monitor": (Principal(Role.MONITOR, "x"), dict),
}
GRANTED = {
    "a registrar": {Action.HEADS, Action.TRACES, Action.ASSESSMENTS},
    "a monitor": {Action.METRICS},
}


@pytest.fixture(scope="module")
async def case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Case(tmp_path_factory.mktemp("fuzzed"))
    tiles: Path = made.parts.tiles  # type: ignore[assignment]
    tiles.mkdir()
    (tiles / "checkpoint").write_bytes(b"checkpoint\n")
    await made.catch_up()
    unlimited = RateLimit[str](Rate(1e9, 1_000_000))
    made.parts.access.callers, made.parts.gate.addresses = unlimited, unlimited
    assert made.parts.requests is not None
    made.parts.requests.addresses = unlimited
    yield made
    made.close()


def without_follower(app: ASGIApp) -> ASGIApp:
    """The application without its lifespan: the case follows the chain by itself."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await app(scope, receive, send)

    return answer


ALL = [(caller, mode) for caller in CALLERS for mode in GenerationMode]
# Requests against the description take long to make up.
SOME = [(caller, mode) for caller, mode in ALL if mode is GenerationMode.POSITIVE]


@pytest.mark.parametrize(("caller", "mode"), SOME)
def test_no_request_gets_a_defect_or_what_its_caller_may_not_have(
    case: Case, caller: str, mode: GenerationMode
) -> None:
    attack_all(case, caller, mode, EXAMPLES)


@pytest.mark.faults
@pytest.mark.parametrize(("caller", "mode"), ALL)
def test_nor_does_any_of_many_more(case: Case, caller: str, mode: GenerationMode) -> None:
    attack_all(case, caller, mode, MANY)


def attack_all(case: Case, caller: str, mode: GenerationMode, examples: int) -> None:
    """Attack every route as a caller."""
    principal, headers = CALLERS[caller]
    app = without_follower(spoken_for(create_api(case.parts), principal))
    rows = {path.replace(":path}", "}"): wanted for path, wanted in ROUTES.items()}
    described: Any = schemathesis.openapi.from_asgi(OPENAPI_PATH, app)
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} == set(rows) - {OPENAPI_PATH}
    for operation in operations:
        is_granted = rows[operation.path] in {Open.PUBLIC, *GRANTED.get(caller, ())}
        attack(operation, headers(), mode, is_granted, examples)


def attack(
    operation: Any, headers: dict[str, str], mode: GenerationMode, is_granted: bool, examples: int
) -> None:
    """Ask many times, by and against the description; what is answered has to fit it and the caller."""

    @settings(HURRIED, max_examples=examples)
    @given(operation.as_strategy(generation_mode=mode))
    def run(request: Any) -> None:
        response = request.call(headers=headers)
        request.validate_response(response, checks=CHECKS)
        assert is_granted or response.status_code in REFUSALS, (operation.path, response.status_code)

    try:
        run()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing could be asked"  # where nothing can be asked wrongly
