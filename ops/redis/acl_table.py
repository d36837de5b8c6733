"""Redis users, one for each right of the table of access: commands and keys. The default user is off."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ops.access_table import ACCESS, RedisRight
from ops.tls.principal import Role

KEY_PREFIX = "bkdms:"

_READ = (
    "get",
    "mget",
    "exists",
    "hget",
    "hmget",
    "hgetall",
    "hlen",
    "xrange",
    "xlen",
    "pttl",
    "time",
    "ping",
)
_WRITE = ("set", "del", "hset", "hdel", "xadd", "xdel", "xtrim", "pexpire", "eval", "evalsha")


@dataclass(frozen=True, slots=True)
class RedisUser:
    """Commands a user may run on keys that begin with ``bkdms:``; ``everything`` lifts both limits."""

    commands: tuple[str, ...] = ()
    everything: bool = False


_USER_OF: Mapping[RedisRight, str] = MappingProxyType(
    {RedisRight.WRITE: "node", RedisRight.READ: "reader", RedisRight.ALL: "admin"}
)
# What a script runs is checked against the user who calls it, so the commands of scripts are listed too.
_RIGHTS: Mapping[RedisRight, RedisUser] = MappingProxyType(
    {
        RedisRight.WRITE: RedisUser((*_READ, *_WRITE, "client|setname", "client|id")),
        RedisRight.READ: RedisUser(_READ),
        RedisRight.ALL: RedisUser(everything=True),
    }
)

REDIS_USERS: Mapping[str, RedisUser] = MappingProxyType(
    {
        _USER_OF[right]: _RIGHTS[right]
        for right in _RIGHTS
        if any(row.redis is right for row in ACCESS.values())
    }
)
"""The users that some role needs, by name."""


def redis_user(role: Role) -> str | None:
    """Return as which user a role speaks to Redis; None: not at all."""
    right = ACCESS[role].redis
    return None if right is None else _USER_OF[right]


def acl_line(name: str, password_sha256: str, kind: str | None = None) -> str:
    """One line of Redis's ACL file: a user, or one of its own name with the rights of the user ``kind``."""
    user = REDIS_USERS[kind or name]
    scope = "~* &* +@all" if user.everything else f"~{KEY_PREFIX}* resetchannels -@all"
    rules = "".join(f" +{command}" for command in user.commands)
    return f"user {name} reset on #{password_sha256} {scope}{rules}"
