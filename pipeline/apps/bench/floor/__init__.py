"""Floors: what each stage can't do without, measured on this machine."""

from pipeline.apps.bench.floor.floor import Cost, Floor, FloorRow
from pipeline.apps.bench.floor.lists import Database, Stage
from pipeline.apps.bench.floor.measure import Case, measure_case, measure_floor, own_servers
from pipeline.apps.bench.floor.servers import FloorServers

__all__ = [
    "Case",
    "Cost",
    "Database",
    "Floor",
    "FloorRow",
    "FloorServers",
    "Stage",
    "measure_case",
    "measure_floor",
    "own_servers",
]
