"""RedisLedger: the ``Ledger`` port on a real Redis."""

import contextlib
from collections.abc import Iterator, Sequence
from hashlib import sha1
from typing import Final, cast

from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from pipeline.adapters.redis_ledger import scripts
from pipeline.adapters.redis_ledger.connection import RedisConnection
from pipeline.core.errors import ConfigError, TransientError
from pipeline.ports import LedgerBlock, LedgerHead

KEPT_HEADERS: Final = 10_000
_TRIM_AT_ONCE = 64


@contextlib.contextmanager
def _redis_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except NoPermissionError as error:
        raise ConfigError(
            f"Redis, {doing}: {error}; name a user with the rights of an accounting node in redis.username"
        ) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise TransientError(f"Redis, {doing}: {error or type(error).__name__}", code="redis") from error


class RedisLedger:
    """Head, headers and recent bodies of one chain under ``bkdms:{chain}:…``."""

    def __init__(self, connection: RedisConnection, chain: bytes) -> None:
        self._redis = connection.open()
        prefix = f"bkdms:{{{chain.hex()}}}:"
        self._head, self._bodies, self._headers, self._lease = (
            prefix + name for name in ("head", "bodies", "headers", "lease")
        )

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> bool:
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            reply: object = await self._redis.evalsha(digest, len(keys), *keys, *args)
        except NoScriptError:
            reply = await self._redis.eval(script, len(keys), *keys, *args)
        return reply == 1

    async def head(self) -> LedgerHead | None:
        """Return the head, or None for an empty ledger; a damaged one counts as height 0."""
        with _redis_errors("reading the head"):
            fields = cast("dict[bytes, bytes]", await self._redis.hgetall(self._head))
        if not fields:
            return None
        try:
            height, published = int(fields[b"height"]), int(fields.get(b"published", b"0"))
        except (KeyError, ValueError):
            return LedgerHead(0, fields.get(b"hash", b""), 0)
        return LedgerHead(height, fields.get(b"hash", b""), published)

    async def extend(self, previous_hash: bytes, block: LedgerBlock) -> bool:
        """Extend the ledger by a certified block; False where the head is not its predecessor."""
        with _redis_errors("extending the ledger"):
            return await self._run(
                scripts.EXTEND,
                (self._head, self._bodies, self._headers),
                (
                    block.height,
                    previous_hash,
                    block.block_hash,
                    block.certified,
                    block.header,
                    block.height - KEPT_HEADERS,
                ),
            )

    async def replace(self, seen: LedgerHead | None, blocks: Sequence[LedgerBlock], published: int) -> bool:
        """Make the last of verified, consecutive blocks the head, if the head still is ``seen``."""
        height, block_hash = (str(seen.height), seen.block_hash) if seen is not None else ("", b"")
        args: list[str | bytes | int] = [height, block_hash, published]
        for block in blocks:
            args += [block.height, block.block_hash, block.certified, block.header]
        with _redis_errors("repairing the ledger"):
            return await self._run(scripts.REPLACE, (self._head, self._bodies, self._headers), args)

    async def put_headers(self, at_least: int, headers: Sequence[tuple[int, bytes]]) -> bool:
        """Store verified headers by height; False where the head is below ``at_least``."""
        pairs: list[str | bytes | int] = [field for header in headers for field in header]
        with _redis_errors("storing headers"):
            return await self._run(scripts.HEADERS, (self._head, self._headers), (at_least, *pairs))

    async def certified(self, height: int) -> bytes | None:
        """Return the certified block held for a height, unverified."""
        with _redis_errors("reading a block"):
            return cast("bytes | None", await self._redis.hget(self._bodies, str(height)))

    async def mark_published(self, height: int, keep_from: int) -> None:
        """Record that blocks up to ``height`` are published and verified; drop bodies below ``keep_from``."""
        gone = range(max(1, keep_from - _TRIM_AT_ONCE), keep_from)
        with _redis_errors("marking blocks as published"):
            await self._run(scripts.PUBLISHED, (self._head, self._bodies), (height, *gone))

    async def acquire_lease(self, owner: str, ttl_ms: int) -> bool:
        """Take or renew the publishing lease."""
        with _redis_errors("taking the lease"):
            return await self._run(scripts.LEASE, (self._lease,), (owner, ttl_ms))

    async def release_lease(self, owner: str) -> None:
        """Give the lease back."""
        with _redis_errors("releasing the lease"):
            await self._run(scripts.RELEASE, (self._lease,), (owner,))

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()
