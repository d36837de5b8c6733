"""Redis users as data: who may run which commands on which keys. The default user is off."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


# What a script runs is checked against the user who calls it, so the commands of scripts are listed too.
REDIS_USERS: Mapping[str, RedisUser] = MappingProxyType(
    {
        "node": RedisUser((*_READ, *_WRITE, "client|setname", "client|id")),
        "reader": RedisUser(_READ),
        "admin": RedisUser(everything=True),
    }
)


def acl_line(name: str, password_sha256: str) -> str:
    """One line of Redis's ACL file."""
    user = REDIS_USERS[name]
    scope = "~* &* +@all" if user.everything else f"~{KEY_PREFIX}* resetchannels -@all"
    rules = "".join(f" +{command}" for command in user.commands)
    return f"user {name} reset on #{password_sha256} {scope}{rules}"
