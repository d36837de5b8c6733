"""docker-compose.yml is what the compose specification allows, and as closed as docs/compose.md says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ops.kafka.distribution import kafka_version
from pipeline.apps.cli.worker import WORKERS
from pipeline.apps.provision.plan import read_plan
from tests.support import compose

EVERY = compose.services()
STAYING = {name: one for name, one in EVERY.items() if not compose.runs_once(one)}
SCHEMA = Path(compose.__file__).with_name("compose-spec.json")
# One that may be written to, besides its own: what it is for.
SHARED = {
    "platform-keys": {"desk", "sample-approve"},
    "platform-generations": {"desk", "sample-approve"},
    "tiles": {"exporter"},
}
each = pytest.mark.parametrize("name", EVERY)
each_staying = pytest.mark.parametrize("name", STAYING)


def folders(service: dict[str, Any], volume: str) -> list[dict[str, Any]]:
    """Return a service's mounts of one volume."""
    return [mount for mount in service.get("volumes", []) if mount.get("source") == volume]


def test_the_file_fits_the_schema_of_the_compose_specification() -> None:
    jsonschema.validate(compose.load(), json.loads(SCHEMA.read_text("utf-8")))


def test_the_schema_refuses_what_it_should() -> None:
    wrong = compose.load()
    wrong["services"]["kafka"]["healthchek"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(SCHEMA.read_text("utf-8")))


@each
def test_a_service_can_change_nothing_but_its_data(name: str) -> None:
    service = EVERY[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & service.keys()


@each
def test_a_service_is_limited(name: str) -> None:
    limits = EVERY[name]["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert EVERY[name]["logging"]["options"].keys() == {"max-size", "max-file"}


@each
def test_an_image_is_pinned_by_its_short_name(name: str) -> None:
    image, _, tag = EVERY[name]["image"].partition(":")
    assert re.fullmatch(r"[a-z]+(/[a-z]+)?|bkdms-(worker|site)", image)
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-[a-z]+)?|\d+\.\d+-[a-z]+", tag)


def test_kafka_is_of_the_release_that_the_tests_run() -> None:
    assert {EVERY[name]["image"] for name in ("kafka", "kafka-format")} == {f"apache/kafka:{kafka_version()}"}


@each
def test_only_loopback_ports_are_published(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in EVERY[name].get("ports", []))
    assert EVERY[name].get("network_mode", "none") == "none"


@each_staying
def test_what_stays_has_a_health_check_and_is_started_again(name: str) -> None:
    assert EVERY[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert EVERY[name]["restart"] == "unless-stopped"


@each
def test_no_secret_is_in_environment_or_command(name: str) -> None:
    service = EVERY[name]
    secret = re.compile(r"(PASS|SECRET|TOKEN|KEY)", re.IGNORECASE)
    values = service.get("environment", {})
    named = {key for key in values if secret.search(key)}
    assert all(key.endswith(("_FILE", "_DIR")) for key in named)
    assert "password=" not in json.dumps([service.get("command"), service.get("entrypoint")])


@each
def test_a_service_sees_the_secrets_of_no_other(name: str) -> None:
    mounts = folders(EVERY[name], "deployment")
    if name == "files":
        assert [mount["target"] for mount in mounts] == ["/deployment"]
        return
    seen = {mount["volume"]["subpath"] for mount in mounts}
    of = {
        "kafka-format": {"kafka"},
        "postgres-format": set(),
        "servers": {"admin"},
        "sample-request": {"sample-site"},
        "sample-approve": {"desk"},
    }
    assert seen == of.get(name, {name})
    # The registrar's journal is beside its key.
    assert all(mount.get("read_only") for mount in mounts) or seen == {"desk"}


@each
def test_data_is_written_by_its_owner_alone(name: str) -> None:
    for mount in folders(EVERY[name], "state"):
        folder = mount.get("volume", {}).get("subpath")
        if folder in SHARED and not mount.get("read_only"):
            assert name in SHARED[folder]


def test_every_folder_that_is_mounted_is_made_by_the_plan() -> None:
    plan = read_plan(compose.PLAN)
    programs = {program.name for program in plan.programs}
    made = programs | {"kafka", "redis", "postgres", *plan.shared}
    for service in EVERY.values():
        for volume, known in (("deployment", made | {"admin"}), ("state", made)):
            subpaths = {mount["volume"]["subpath"] for mount in folders(service, volume) if "volume" in mount}
            assert subpaths <= known


def test_every_program_of_the_plan_is_a_service() -> None:
    assert {program.name for program in read_plan(compose.PLAN).programs} <= EVERY.keys()


def test_every_worker_is_run_by_some_service() -> None:
    commands = [service.get("command", []) for service in EVERY.values() if "build" in service]
    run = {command[1] for command in commands if command[:1] == ["worker"]}
    # Files for data scientists are where they want them: docs/attach.md.
    assert set(WORKERS) - run <= {"parquet"}


@pytest.mark.parametrize(
    "program", [one for one in read_plan(compose.PLAN).programs if one.address is not None]
)
def test_a_program_is_asked_where_it_listens(program: Any) -> None:
    """Health check, plan and Prometheus mean the same port, and the host is the service's name."""
    assert program.address is not None
    host, _, port = program.address.partition(":")
    assert host == program.name
    test = EVERY[program.name]["healthcheck"]["test"]
    assert any(f":{port}/health/ready" in word for word in test)
    assert program.role.page_host in (None, test[-1])
    assert {"stream", "watch"} <= set(EVERY[program.name]["networks"])


def test_plain_values_are_reached_by_the_platform_zone_alone() -> None:
    """PostgreSQL is on one network, which leads nowhere else."""
    assert EVERY["postgres"]["networks"] == ["zone"]
    assert compose.load()["networks"]["zone"] == {"internal": True}
    inside = {name for name, service in EVERY.items() if "zone" in service.get("networks", [])}
    assert inside <= {"postgres", "platform", "assess", "api", "grafana", "servers"}


@each
def test_what_is_bound_from_the_checkout_is_there_and_read_only(name: str) -> None:
    for mount in EVERY[name].get("volumes", []):
        if mount["type"] == "bind":
            assert (compose.ROOT / mount["source"]).exists()
            assert mount["read_only"] is True


def test_the_services_can_be_started_one_after_the_other() -> None:
    """Nothing depends on itself, and what is waited for ends or has a health check as demanded."""
    assert set(compose.in_order(EVERY)) == EVERY.keys()
    for service in EVERY.values():
        for other, how in service.get("depends_on", {}).items():
            once = compose.runs_once(EVERY[other])
            assert how["condition"] == ("service_completed_successfully" if once else "service_healthy")


def test_the_images_are_of_this_release() -> None:
    version = tomllib.loads((compose.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    built = {service["image"] for service in EVERY.values() if "build" in service}
    assert built == {f"bkdms-worker:{version}", f"bkdms-site:{version}"}
