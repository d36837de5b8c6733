"""Access over real TLS connections: tokens without a certificate, and certificates revoked while connected."""

import json
import ssl
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from ops.tls.revoked import Revocation, add_revocation
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.api_setup import access_of, gate_of
from pipeline.apps.cli.serve import server_tls
from pipeline.apps.keys import key_files
from pipeline.apps.token_issuer import issuer_of, new_token, read_permits
from pipeline.config import load_settings
from tests.support.api import ApiCase
from tests.support.chain import Chain
from tests.unit.test_serve import served


async def test_by_the_settings_alone_tokens_work_and_revoked_certificates_stop(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = Authority.create(tmp_path / "ca", now=now)
    own = authority.issue(Principal(Role.API, "api"), tmp_path / "api", now=now)
    monitor = authority.issue(Principal(Role.MONITOR, "prometheus"), tmp_path / "monitor", now=now)
    file = tmp_path / "bkdms.toml"
    file.write_text(
        f'data_dir = "data"\n[access]\nissuer = "https://local"\njwks_file = "data/access/jwks.json"\n'
        f'require_certificate = false\n[api]\nca = "{own.ca}"\ncertificate = "{own.certificate}"\nkey = "{own.key}"\n'
    )
    settings = load_settings(file)
    token = new_token(
        settings.access,
        issuer_of(settings.access, key_files(settings)),
        "dashboard",
        read_permits(["metrics"]),
        600,
    )
    case = ApiCase(tmp_path / "view", Chain())
    case.parts.access, case.parts.gate = access_of(settings), gate_of(settings, case.chain.world.genesis)
    context = server_tls(settings.api, is_demanding=settings.access.require_certificate)
    with ExitStack() as stack:
        stack.callback(case.close)
        port = stack.enter_context(served(case, context))
        url = f"https://127.0.0.1:{port}/metrics"
        anonymous = stack.enter_context(httpx.Client(verify=httpx_context(own.ca)))
        assert anonymous.get(url).status_code == 401
        assert anonymous.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        known = client_context(TlsFiles(monitor.ca, monitor.certificate, monitor.key))
        client = stack.enter_context(httpx.Client(verify=known))
        assert client.get(url).status_code == 200
        add_revocation(settings.pki.revoked, "monitor:prometheus", Revocation(now.isoformat(), "stolen"))
        answer = client.get(url)
        assert (answer.status_code, answer.json()["error"]) == (403, "revoked")
    log = case.parts.gate.log
    assert log is not None
    log.close()
    lines = [json.loads(line) for path in settings.access.log.glob("*.jsonl") for line in path.open()]
    assert [(line["who"], line["status"]) for line in lines] == [
        ("nobody", 401),
        ("token:dashboard", 200),
        ("monitor:prometheus", 200),
        ("monitor:prometheus", 403),
    ]


def httpx_context(ca: Path | None) -> ssl.SSLContext:
    """Trust the deployment, show no certificate."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
