"""The site's durable spool: encrypted records, the packets made of them, the source's position, the last receipt.

Everything is in one SQLite file in WAL mode with full synchronisation; every public change is one transaction.
"""

from pipeline.adapters.spool.cipher import SpoolCipher, load_spool_key
from pipeline.adapters.spool.rows import read_delivery, read_receipt, read_standing
from pipeline.adapters.spool.store import SqliteSpool

__all__ = ["SpoolCipher", "SqliteSpool", "load_spool_key", "read_delivery", "read_receipt", "read_standing"]
