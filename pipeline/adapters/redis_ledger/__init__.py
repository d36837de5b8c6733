"""The ledger in Redis: one script extends it by a certified block or does nothing."""

from pipeline.adapters.redis_ledger.connection import RedisConnection
from pipeline.adapters.redis_ledger.ledger import RedisLedger

__all__ = ["RedisConnection", "RedisLedger"]
