"""Who may connect to PostgreSQL, and what each role may do there."""

import psycopg
import pytest

from ops.postgres.role_table import DatabaseRole
from tests.support.postgres import Database

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("role", DatabaseRole)
def test_a_role_connects_with_its_certificate(database: Database, role: DatabaseRole) -> None:
    """Each role's certificate opens a TLS 1.3 session as that role."""
    with psycopg.connect(database.conninfo(role)) as connection:
        found = connection.execute(
            "SELECT current_user, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert found == (role.value, "TLSv1.3")
