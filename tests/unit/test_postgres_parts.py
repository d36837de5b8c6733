"""The search for PostgreSQL, its settings files and its rights, without starting one."""

import os
import pwd
import re
from pathlib import Path

import pytest

from ops.postgres import program
from ops.postgres.program import find_programs, system_user
from ops.postgres.role_table import CERTIFICATE_ROLES, CONNECTION_LIMITS, DatabaseRole
from ops.postgres.roles import grant_statements
from ops.postgres.texts import MAX_CONNECTIONS, access_text, ident_text, settings_text
from ops.tls.principal import Role
from pipeline.core.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the environment names as PostgreSQL's."""
    monkeypatch.setenv(program.HOME_VARIABLE, str(tmp_path))
    return tmp_path


def make_programs(folder: Path, version: str, more: str = "") -> None:
    """Put programs there that know their version alone."""
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\n{more}echo 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o700)


def test_without_postgresql_the_remedy_is_named(home: Path) -> None:
    """The message holds the command that installs it, and the setting that names another."""
    with pytest.raises(ConfigError, match=r"apt-get install postgresql .* or set BKDMS_POSTGRES_HOME"):
        find_programs()


def test_an_old_postgresql_is_none(home: Path) -> None:
    """Version 14 is passed over, 15 is taken."""
    make_programs(home, "14.9 (Debian 14.9-1)")
    with pytest.raises(ConfigError, match="no PostgreSQL"):
        find_programs()
    make_programs(home, "15.2")
    assert (find_programs().folder, find_programs().version) == (home, 15)


def test_a_postgresql_without_tls_is_none(home: Path) -> None:
    """One that was built without TLS could admit nobody."""
    make_programs(home, "17.1", "# SSL is not supported by this build\n")
    with pytest.raises(ConfigError, match="no PostgreSQL"):
        find_programs()


def test_root_without_the_system_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL never runs as root; who is not root runs it himself."""

    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(ConfigError, match="there is no user postgres"):
        system_user()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert system_user() is None


def test_every_way_in_is_tls_with_a_certificate() -> None:
    """No line trusts an address, asks for a password or serves a socket."""
    lines = access_text(("127.0.0.1/32", "10.0.0.0/8")).splitlines()
    assert lines == [
        f"hostssl all all {network} cert map=bkdms" for network in ("127.0.0.1/32", "10.0.0.0/8")
    ]
    settings = settings_text("/seen", 5432)
    assert "unix_socket_directories = ''\n" in settings
    assert "ssl_min_protocol_version = 'TLSv1.3'\n" in settings


@pytest.mark.parametrize("role", Role)
def test_the_map_gives_a_name_one_role(role: Role) -> None:
    """Whole common names count: none with more before or after, and only of roles in the table."""
    rules = [line.split(" ") for line in ident_text().splitlines()]
    patterns = [(pattern.strip('"/'), database_role) for _, pattern, database_role in rules]

    def roles_of(common_name: str) -> list[str]:
        return [mapped for pattern, mapped in patterns if re.search(pattern, common_name)]

    expected = [str(CERTIFICATE_ROLES[role])] if role in CERTIFICATE_ROLES else []
    assert roles_of(f"{role}:a.b-c_1") == expected
    for other in (f"x{role}:a", f"{role}:", f"{role}:a b", f"{role}", f"{role}:a,CN=b", f"{role}:{'a' * 55}"):
        assert roles_of(other) == []


def test_settings_quote_a_folder() -> None:
    """A quote in a folder's name ends no setting."""
    assert "hba_file = '/it''s/hba.conf'\n" in settings_text("/it's", 1)


def test_guests_can_not_use_up_the_connections() -> None:
    """However many sessions others hold, the platform worker gets one."""
    taken = sum(limit for role, limit in CONNECTION_LIMITS.items() if role is not DatabaseRole.PLATFORM)
    assert taken < MAX_CONNECTIONS - 10


def test_what_the_table_does_not_name_is_granted_to_nobody() -> None:
    """A new table is its owner's until somebody decides; a hidden column is in no grant."""
    statements = grant_statements(
        {"new_table": ["a"], "openings": ["seed"], "kpi_records": ["city", "city_data"]}
    )
    granted = [statement for statement in statements if statement.startswith("GRANT")]
    assert granted == [
        'GRANT SELECT ("city") ON "kpi_records" TO "bkdms_assess"',
        'GRANT SELECT ("city") ON "kpi_records" TO "bkdms_reader"',
    ]
    assert 'REVOKE ALL ON "new_table" FROM "bkdms_api", PUBLIC' in statements
