"""Brings servers to what the tables say: topics and rights in Kafka, roles and database in PostgreSQL.

Repeating it changes nothing. Redis gets its users from its own file, so it is only asked whether they work.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ops.kafka.acl_table import TOPIC_RIGHTS
from ops.kafka.admin import KafkaAdmin
from ops.kafka.live import deny
from ops.kafka.topic_table import topic_table
from ops.postgres.role_table import ADMIN_ROLE
from ops.postgres.roles import apply_roles
from ops.postgres.server import FIRST_DATABASE, address_at, is_ready
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal
from ops.tls.revoked import REVOKED, read_revoked
from pipeline.apps.provision.folders import CA, CERTIFICATE, KEY
from pipeline.apps.provision.plan import DeploymentPlan, host_of, port_of
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.topics import Topics

PROBE_TIMEOUT_S = 2.0
_POLL_S = 0.5


def apply_to_servers(
    plan: DeploymentPlan, admin: Path, *, wait_s: float, say: Callable[[str], None] = lambda _: None
) -> None:
    """Make topics, rights, roles and database; waits up to ``wait_s`` seconds for servers that are not up yet.

    ``admin`` is the folder of the admin's certificate.

    Raises:
        ConfigError: the certificate is missing, or a server refuses what is asked.
        TransientError: a server did not answer in time.
    """
    files = CertificateFiles(admin / CA, admin / CERTIFICATE, admin / KEY)
    missing = [file for file in (files.ca, files.certificate, files.key) if not file.is_file()]
    if missing:
        raise ConfigError(
            f"{missing[0]} is not there: name the folder that `bkdms provision files` made for the admin"
        )
    revoked = [Principal.parse(name) for name in read_revoked(admin / REVOKED)]
    deadline = time.monotonic() + wait_s
    _apply_kafka(plan, files, revoked, deadline)
    say(f"Kafka at {plan.kafka.address} has its topics and rights")
    if plan.postgres is not None:
        _apply_postgres(plan, files, deadline)
        say(f"PostgreSQL at {plan.postgres.address} has its roles and database {plan.postgres.database}")


def _apply_kafka(
    plan: DeploymentPlan, files: CertificateFiles, revoked: Sequence[Principal], deadline: float
) -> None:
    admin = KafkaAdmin(plan.kafka.address, files, plan.quotas.given())
    _await(lambda: admin.is_ready(PROBE_TIMEOUT_S), f"Kafka at {plan.kafka.address}", "kafka", deadline)
    topics = Topics(plan.chain.topic_prefix)
    admin.apply_topics(topic_table(topics), replicas=plan.kafka.replicas)
    # Denials first: whatever is granted after them counts nothing.
    deny(admin, revoked)
    holders = [one.principal for one in plan.programs if one.role in TOPIC_RIGHTS]
    admin.grant([one for one in holders if one not in revoked], [topics])


def _apply_postgres(plan: DeploymentPlan, files: CertificateFiles, deadline: float) -> None:
    assert plan.postgres is not None  # noqa: S101  as its caller knows
    where = plan.postgres.address
    conninfo = address_at(host_of(where), port_of(where), ADMIN_ROLE, FIRST_DATABASE, files)
    _await(lambda: is_ready(conninfo), f"PostgreSQL at {where}", "database", deadline)
    apply_roles(conninfo, plan.postgres.database)


def _await(is_up: Callable[[], bool], what: str, code: str, deadline: float) -> None:
    while not is_up():
        if time.monotonic() > deadline:
            raise TransientError(f"{what} does not answer the admin's certificate", code=code)
        time.sleep(_POLL_S)
