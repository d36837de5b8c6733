"""``bkdms provision``: folders for each program with what it may know, made once and renewed in time."""

import json
import ssl
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ops import health
from ops.tls.authority import LEAF_LIFETIME
from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.adapters.sealed_file import is_sealed
from pipeline.apps.cli.root import app
from pipeline.apps.keys import key_files as programs_keys
from pipeline.apps.provision.files import write_files
from pipeline.apps.provision.folders import Folders
from pipeline.apps.provision.plan import DeploymentPlan, read_plan
from pipeline.apps.provision.servers import apply_to_servers
from pipeline.config import load_settings
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.keys import Use
from pipeline.core.names import SiteName, parse_site_id
from tests.support import compose
from tests.support.keys import key_files

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PLAN = read_plan(compose.PLAN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The deployment of the compose file; tests that change it copy the plan to a folder of their own."""
    return write_files(PLAN, tmp_path_factory.mktemp("made") / "deployment", now=NOW)


def names(files: Path) -> list[x509.GeneralName]:
    """Return the hosts that a certificate is good for."""
    certificate = x509.load_pem_x509_certificate((files / "certificate.pem").read_bytes())
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def small(tmp_path: Path, extra: str = "") -> Path:
    """Write a plan with one program."""
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[chain]\nurl = "https://kpi.example/x"\nnodes = 1\n[kafka]\naddress = "k1.example:9092"\n'
        f'[redis]\naddress = "r1.example:6379"\n[[programs]]\nname = "node-1"\nrole = "node"\n{extra}'
    )
    return plan


def test_a_second_time_changes_nothing(made: Folders) -> None:
    assert made.changed
    assert write_files(PLAN, made.root, now=NOW).changed == []


def test_a_program_gets_its_keys_as_mounted_secrets_and_the_authority_keeps_them_sealed(
    tmp_path: Path,
) -> None:
    keys = key_files(tmp_path / "secrets")
    root = write_files(read_plan(small(tmp_path)), tmp_path / "d", now=NOW, keys=keys).root
    kept, given = root / "authority" / "chain" / "keys" / "node-1.json", root / "node-1" / "node.json"
    assert is_sealed(kept.read_bytes())
    settings = load_settings(root / "node-1" / "bkdms.toml")
    signer = programs_keys(settings).signer(given, Use.NODE)
    assert signer.public == keys.signer(kept, Use.NODE).public
    assert write_files(read_plan(tmp_path / "plan.toml"), root, now=NOW, keys=keys).changed == []


def test_desk_and_platform_share_a_passphrase_and_nobody_else_has_it(made: Folders) -> None:
    texts = {path.parent.name: path.read_text() for path in made.root.glob("*/passphrase")}
    assert texts.keys() == {"desk", "platform", "api", "sample-site"}
    assert texts["desk"] == texts["platform"]
    assert len(set(texts.values())) == len(texts) - 1


def test_every_file_is_private(made: Folders) -> None:
    for path in (made.root, *made.root.rglob("*")):
        # What the chain publishes is no secret; its folder is.
        if path.parent != made.root / "authority" / "chain" or path.is_dir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_certificates_are_renewed_when_a_third_of_their_life_is_left(tmp_path: Path) -> None:
    plan = read_plan(small(tmp_path))
    first = write_files(plan, tmp_path / "d", now=NOW)
    before = (first.root / "node-1" / "certificate.pem").read_bytes()
    kept = write_files(plan, tmp_path / "d", now=NOW + LEAF_LIFETIME / 2)
    assert kept.changed == []
    renewed = write_files(plan, tmp_path / "d", now=NOW + LEAF_LIFETIME * 2 / 3 + timedelta(minutes=5))
    assert "node-1/certificate.pem" in renewed.changed
    assert (renewed.root / "node-1" / "certificate.pem").read_bytes() != before
    assert not [name for name in renewed.changed if "genesis" in name or name.endswith("node.json")]


def test_a_server_is_known_by_its_addresses(made: Folders) -> None:
    for name in ("kafka", "redis", "postgres", "api"):
        assert x509.DNSName(name) in names(made.root / name)
        assert x509.DNSName("localhost") in names(made.root / name)


def test_a_new_address_makes_a_new_certificate(tmp_path: Path) -> None:
    plan = small(tmp_path)
    write_files(read_plan(plan), tmp_path / "d", now=NOW)
    plan.write_text(plan.read_text().replace("k1.example", "10.1.2.3"))
    changed = write_files(read_plan(plan), tmp_path / "d", now=NOW).changed
    assert "kafka/certificate.pem" in changed
    assert "redis/certificate.pem" not in changed


def test_each_program_has_its_own_secrets_and_no_other_ones(made: Folders) -> None:
    secrets = {
        path.name: path.read_bytes()
        for path in (made.root / "authority" / "chain" / "keys").iterdir()
        if path.is_file()
    }
    for program in PLAN.programs:
        folder = made.root / program.name
        held = {
            name for name, secret in secrets.items() if secret in {f.read_bytes() for f in folder.iterdir()}
        }
        own = {
            Role.NODE: {f"{program.name}.json", f"{program.name}.mldsa44.json"},
            Role.EXPORTER: {"log.json"},
            Role.REGISTRAR: {"registrar.json"},
        }
        assert held == own.get(program.role, set())
        assert not (folder / "ca.key").exists()
        assert (folder / "redis.password").exists() == (program.role is Role.NODE)


def test_who_was_revoked_is_left_out_everywhere(tmp_path: Path) -> None:
    """No account in Redis, no role in the database, no new files; the API and whoever applies rights know it."""
    plan = read_plan(compose.PLAN)
    root = write_files(plan, tmp_path / "d", now=NOW).root
    for gone in ("node:node-1", "analyst:grafana"):
        app(["pki", "revoke", gone, "--authority", str(root / "authority")], standalone_mode=False)
    certificate = (root / "node-1" / "certificate.pem").read_bytes()
    write_files(plan, tmp_path / "d", now=NOW + LEAF_LIFETIME)
    users = (root / "redis" / "users.acl").read_text()
    assert "user node:node-2 " in users
    assert "node:node-1" not in users
    assert "^analyst:(?!(?:grafana)$)" in (root / "postgres" / "ident.conf").read_text()
    assert (root / "node-1" / "certificate.pem").read_bytes() == certificate
    for name in ("api", "admin"):
        assert set(json.loads((root / name / "revoked.json").read_text())) == {
            "node:node-1",
            "analyst:grafana",
        }


def test_nodes_have_accounts_of_their_own(made: Folders) -> None:
    passwords = {(made.root / f"node-{number}" / "redis.password").read_bytes() for number in (1, 2, 3, 4)}
    assert len(passwords) == 4
    settings = tomllib.loads((made.root / "node-2" / "bkdms.toml").read_text())
    assert settings["redis"]["username"] == "node:node-2"


def test_every_program_can_read_its_settings(made: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BKDMS_CONFIG", raising=False)
    for program in PLAN.programs:
        if program.role is Role.MONITOR:
            continue
        settings = load_settings(made.root / program.name / "bkdms.toml")
        assert settings.genesis.is_file()
        assert settings.kafka.tls_files().certificate.is_file()
        assert settings.kafka.bootstrap == "kafka:9092"


def test_who_reads_the_store_connects_as_its_own_role(made: Folders) -> None:
    roles = {"platform": "bkdms_platform", "api": "bkdms_api", "grafana": "bkdms_reader"}
    for name, role in roles.items():
        url = tomllib.loads((made.root / name / "bkdms.toml").read_text())["store"]["url"]
        assert url.startswith(f"postgresql+psycopg://{role}@postgres:5432/bkdms?sslmode=verify-full&")


def test_prometheus_asks_every_program(made: Folders) -> None:
    document = json.loads((made.root / "prometheus" / "prometheus.yml").read_text())
    asked = {
        target
        for job in document["scrape_configs"]
        for one in job["static_configs"]
        for target in one["targets"]
    }
    assert asked == {program.address for program in PLAN.programs if program.address}
    assert {job["job_name"]: job.get("scheme", "http") for job in document["scrape_configs"]}[
        "api"
    ] == "https"


def test_a_damaged_authority_is_not_replaced(tmp_path: Path) -> None:
    """Certificates of another one would shut everybody out."""
    plan = read_plan(small(tmp_path))
    write_files(plan, tmp_path / "d", now=NOW)
    (tmp_path / "d" / "authority" / "ca" / "root.pem").unlink()
    with pytest.raises(ConfigError, match="no usable certificate authority"):
        write_files(plan, tmp_path / "d", now=NOW)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('[[programs]]\nname = "node-1"\nrole = "node"\n', "two programs are named node-1"),
        ('[[programs]]\nname = "node-9"\nrole = "node"\n', "no node of the chain is named node-9"),
        ('[[programs]]\nname = "kafka"\nrole = "validator"\n', "the name kafka is taken"),
        ('[[programs]]\nname = "a"\nrole = "admin"\n', "role admin is no program's"),
        ('[[programs]]\nname = "a"\nrole = "api"\n', "the API needs an address"),
        ('[[programs]]\nname = "a b"\nrole = "site"\n', "use 1 to 54"),
        ('[[programs]]\nname = "v"\nrole = "validator"\naddress = "here"\n', "use host:port"),
        ("[[programs]]\nnam = 1\n", "programs.1.nam"),
        ("x", "is no TOML"),
    ],
)
def test_a_wrong_plan_is_explained(extra: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read_plan(small(tmp_path, extra))


def test_the_tables_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """For those who administer the servers by their own tools."""
    app(["provision", "show", str(compose.PLAN)], standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert {topic["name"] for topic in shown["topics"]} >= {"kpi.packets.v1", "kpi.blocks.v1"}
    sample = SiteName("IT", "unpublished:tecnojest", parse_site_id("fd62:6b64:6d73:2::1"))
    rights = {row["principal"] for row in shown["rights"]}
    assert {site_principal(sample).kafka, "User:node:node-1"} <= rights
    assert shown["redis_users"].keys() == {"node", "reader", "admin"}
    assert shown["database"]["certificates"]["analyst:grafana"] == "bkdms_reader"


def test_rights_are_given_with_the_admins_certificate_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the folder that `bkdms provision files` made"):
        apply_to_servers(PLAN, tmp_path, wait_s=0)


def test_a_server_that_is_away_is_named(made: Folders) -> None:
    away = DeploymentPlan.model_validate(
        PLAN.model_dump() | {"kafka": {"address": "127.0.0.1:9"}, "programs": ()}
    )
    with pytest.raises(TransientError, match=r"Kafka at 127\.0\.0\.1:9 does not answer"):
        apply_to_servers(away, made.root / "admin", wait_s=0)


def test_health_trusts_our_authority_alone(made: Folders) -> None:
    context = health.client_context(made.root / "api")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("arguments", [[], ["ftp://x"], ["http://a", "b", "c", "d"]])
def test_health_explains_its_use(arguments: list[str]) -> None:
    assert health.main(arguments) == 2


def test_health_says_no_where_nobody_answers() -> None:
    assert health.main(["http://127.0.0.1:9/health/ready"]) == 1
