"""The tables of topics, rights, users and roles for a plan, as plain values: for servers that others administer."""

from typing import Any

from ops.kafka.acl_table import TOPIC_RIGHTS, grants
from ops.kafka.topic_table import topic_table
from ops.postgres.role_table import CERTIFICATE_ROLES, TABLE_RIGHTS
from ops.redis.acl_table import KEY_PREFIX, REDIS_USERS
from pipeline.apps.provision.plan import DeploymentPlan
from pipeline.core.topics import Topics


def tables(plan: DeploymentPlan) -> dict[str, Any]:
    """Return what ``apply_to_servers`` would bring about, and the users that Redis is to have."""
    found = {"topics": _topics(plan), "rights": _rights(plan), "redis_users": _redis_users()}
    return found | ({"database": _database(plan)} if plan.postgres is not None else {})


def _topics(plan: DeploymentPlan) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "partitions": spec.partitions,
            "replicas": plan.kafka.replicas,
            "settings": spec.settings,
        }
        for spec in topic_table(Topics(plan.chain.topic_prefix))
    ]


def _rights(plan: DeploymentPlan) -> list[dict[str, Any]]:
    return [
        {
            "principal": program.principal.kafka,
            "resource": grant.resource,
            "name": grant.name,
            "pattern": "prefixed" if grant.prefixed else "literal",
            "operations": [operation.value for operation in grant.operations],
        }
        for program in plan.programs
        if program.role in TOPIC_RIGHTS
        for grant in grants(program.role, Topics(plan.chain.topic_prefix))
    ]


def _redis_users() -> dict[str, Any]:
    return {
        name: {
            "keys": "*" if user.everything else f"{KEY_PREFIX}*",
            "commands": ["all"] if user.everything else list(user.commands),
        }
        for name, user in REDIS_USERS.items()
    }


def _database(plan: DeploymentPlan) -> dict[str, Any]:
    return {
        "certificates": {
            str(program.principal): str(CERTIFICATE_ROLES[program.role])
            for program in plan.programs
            if program.role in CERTIFICATE_ROLES
        },
        "rights": {
            str(role): {
                table: {"privileges": list(access.privileges), "hidden_columns": list(access.hidden)}
                for table, access in rights.items()
            }
            for role, rights in TABLE_RIGHTS.items()
        },
    }
