"""The systemd units run commands that exist, every program has one, and each is kept from what it does not need."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.apps.cli.worker import WORKERS
from tests.support import compose
from tests.unit.test_docs import resolved

FOLDER = compose.ROOT / "ops" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
COMMON = FOLDER / "bkdms-.service.d" / "10-common.conf"
PROGRAM = "/opt/bkdms/bin/bkdms"
# Of 10, as systemd counts; below 2 it calls a service OK, and most are above 9.
MOST_EXPOSED = 15
each = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def setting(file: Path, key: str) -> list[str]:
    """Return every value of a setting."""
    return re.findall(rf"^{key}=(.*)$", file.read_text("utf-8"), re.MULTILINE)


@each
def test_a_unit_runs_a_command_that_is_there(unit: Path) -> None:
    (line,) = setting(unit, "ExecStart")
    program, config, place, *command = line.split()
    assert (program, config, place) == (PROGRAM, "--config", "/etc/bkdms/%i/bkdms.toml")
    found, rest = resolved(" ".join(command))
    known = {name for one in found.params for name in one.opts}
    assert not hasattr(found, "resolve_command")
    assert all(word in known or word == "%i" for word in rest)


def test_every_program_has_a_unit() -> None:
    run = {tuple(setting(unit, "ExecStart")[0].split()[3:5]) for unit in UNITS}
    by_timer = {("registrar", "rotate")}
    assert {("worker", name) for name in WORKERS} | {("serve",), ("site", "run")} | by_timer == run


def test_every_timer_has_its_unit_and_only_what_runs_by_itself_is_started_with_the_target() -> None:
    timed = {timer.stem for timer in FOLDER.glob("*.timer")}
    assert timed == {unit.stem for unit in UNITS if not setting(unit, "WantedBy")}
    for timer in FOLDER.glob("*.timer"):
        assert setting(timer, "PartOf") == setting(timer, "WantedBy") == ["bkdms.target"]
        assert setting(timer, "Persistent") == ["true"]


def test_the_desk_makes_the_platform_s_keys_where_its_worker_reads_them() -> None:
    of = {name: FOLDER / f"bkdms-{name}@.service" for name in ("platform", "rotation")}
    for variable in ("BKDMS_PLATFORM__KEYS_DIR", "BKDMS_KEYS__GENERATIONS_DIR"):
        (there,), (here,) = (
            [value for value in setting(unit, "Environment") if value.startswith(variable)]
            for unit in of.values()
        )
        assert there == here


@each
def test_a_unit_is_limited_and_part_of_the_whole(unit: Path) -> None:
    assert len(setting(unit, "MemoryMax")) == 1
    assert setting(unit, "PartOf") == ["bkdms.target"]
    assert setting(unit, "WantedBy") in ([], ["bkdms.target"])


def test_no_unit_runs_as_root() -> None:
    """The user is one that the packaging makes."""
    assert setting(COMMON, "User") == ["bkdms"]
    assert "u bkdms " in (FOLDER / "bkdms.sysusers").read_text("utf-8")
    assert not [unit for unit in UNITS if setting(unit, "User")]


def test_wrong_settings_are_not_tried_again() -> None:
    """Exit code 2 waits for people."""
    assert setting(COMMON, "RestartPreventExitStatus") == ["2"]


def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path) -> None:
    """Where its own checker is installed: Debian's package systemd has it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert sys.platform != "linux" or not Path("/etc/debian_version").exists(), "apt-get install systemd"
        return
    shutil.copytree(FOLDER, tmp_path / "units")
    for unit in (tmp_path / "units").glob("*.service"):
        unit.write_text(unit.read_text("utf-8").replace(PROGRAM, "/bin/true"))
    units = [str(unit) for unit in sorted((tmp_path / "units").glob("bkdms*.service"))]
    timers = [str(unit) for unit in sorted((tmp_path / "units").glob("bkdms*.timer"))]
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:", "PATH": "/usr/bin:/bin"}
    exposure = ("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")
    for command in (("verify", *units, *timers), (*exposure, *units)):
        ran = subprocess.run(
            [analyze, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )
        said = ran.stdout + ran.stderr
        assert ran.returncode == 0, said
        # A value that it can't read it ignores, and says so.
        assert not [line for line in said.splitlines() if "ignoring" in line], said
