"""Avro schemas, their fixed ids, and the indicator catalogue."""
