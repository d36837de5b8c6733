"""The library by which Docker Compose reads its files takes ours, and refuses it when it is wrong."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.judges.conftest import built_as
from tests.support import compose

pytestmark = pytest.mark.judges
COMPOSE_GO = "github.com/compose-spec/compose-go/v2", "v2.16.2"
COMPOSER = Path(__file__).parent / "composer" / "main.go"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def reader() -> Path:
    """A small program of ours around the upstream reader of compose files."""
    module, version = COMPOSE_GO
    source = COMPOSER.read_bytes()
    name = f"composer-{version}-{hashlib.sha256(source).hexdigest()[:8]}"
    return built_as(name, module, version, ".", {"main.go": source})


def read(reader: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Read a file with every check that there is."""
    return subprocess.run(
        [str(reader), str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=compose.ROOT,
    )


def test_compose_reads_our_file_as_we_do(reader: Path) -> None:
    """The services, commands, users and mounts after its merges are those after ours."""
    ran = read(reader, compose.COMPOSE)
    assert ran.returncode == 0, ran.stderr
    theirs, ours = json.loads(ran.stdout)["services"], compose.services()
    assert theirs.keys() == ours.keys()
    for name, service in theirs.items():
        for key in ("command", "user", "read_only", "cap_drop", "restart", "image", "environment"):
            assert service.get(key) == ours[name].get(key), (name, key)
        assert [m["target"] for m in service.get("volumes", [])] == [
            m["target"] for m in ours[name].get("volumes", [])
        ]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("condition: service_healthy", "condition: service_is_fine"),
        ("networks: [ledger]", "networks: [leger]"),
        ("source: passwd", "source: passwords"),
        ("cap_drop:", "cap_dropped:"),
    ],
)
def test_compose_refuses_a_slip(right: str, wrong: str, reader: Path, tmp_path: Path) -> None:
    text = compose.COMPOSE.read_text("utf-8")
    assert right in text
    (tmp_path / "docker-compose.yml").write_text(text.replace(right, wrong))
    assert read(reader, tmp_path / "docker-compose.yml").returncode != 0
