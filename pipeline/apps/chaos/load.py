"""The load: sites with made-up measurements of known value, which the oracle reads for itself from the same files."""

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from connectors.mapping import read_mapping
from connectors.samples import SampleSite
from pipeline.apps.chaos.deployment import ChaosDeployment
from pipeline.apps.demo.scene import set_scene
from pipeline.core.names import SiteName, site_id_text

PACKET_RECORDS: Final = 5
ROWS_PER_S: Final = 8
BURST: Final = 10
_SITES: Final = 2
_TICK_S: Final = 0.25
_COUNTRY: Final = "US"
_CITY: Final = "unlocode:USMES"
_INDICATOR: Final = "LOCAL:TRAVEL_TIME"
_UNIT: Final = "SEC"
_FORM: Final = "%Y-%m-%d %H:%M:%S"
_FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
_MAPPING: Final[dict[str, Any]] = {
    "sensor": "chaos",
    "source": "made-up",
    "quality": "assumption_estimate",
    "time": {"column": "time", "format": _FORM, "zone": "UTC"},
    "values": [{"column": "value", "indicator": _INDICATOR, "unit": _UNIT}],
}


@dataclass(slots=True)
class LoadSite:
    """A site and the file that its agent reads; ``told`` rows are in it."""

    name: str
    site: SiteName
    file: Path
    number: int
    told: int = 0

    def sample(self) -> SampleSite:
        """Return it as the enrolment of demonstrations takes sites."""
        return SampleSite(
            self.name, "made up", self.site, str(self.file), read_mapping(_MAPPING), dict(_MAPPING)
        )

    def tell(self, rows: int) -> None:
        """Append whole rows; each value follows from the site and its place, and no two moments are the same."""
        lines = [
            f"{_FIRST + timedelta(seconds=row):{_FORM}},{(row * 7919 + self.number * 104_729) % 100_000 / 100:.2f}\n"
            for row in range(self.told, self.told + rows)
        ]
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
        self.told += rows


@dataclass
class Load:
    """All sites, and a thread that tells them rows while it is switched on."""

    sites: tuple[LoadSite, ...]
    factor: int = 1
    _is_on: threading.Event = field(default_factory=threading.Event)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    @property
    def told(self) -> int:
        """Rows told to all sites."""
        return sum(site.told for site in self.sites)

    def start(self) -> None:
        """Begin, switched off."""
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def first(self) -> None:
        """Tell each site one row, to see that everything works before the first fault."""
        for site in self.sites:
            site.tell(1)

    def on(self) -> None:
        """Tell rows from now on."""
        self._is_on.set()

    def off(self) -> None:
        """Tell no more; when this returns the files are whole."""
        self._is_on.clear()
        with self._busy:
            self.factor = 1

    def end(self) -> None:
        """End the thread."""
        self._is_over.set()
        self._is_on.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._is_on.wait()
            with self._busy:
                if self._is_on.is_set():
                    for site in self.sites:
                        site.tell(max(1, round(ROWS_PER_S * self.factor * _TICK_S)))
            time.sleep(_TICK_S)


def make_load(folder: Path) -> Load:
    """Return the sites of a run, with files that hold the names of the columns alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sites = []
    for number in range(1, _SITES + 1):
        name = f"site-{number}"
        file = folder / f"{name}.csv"
        file.write_text("time,value\n", "utf-8")
        site_id = bytes.fromhex("fd626b646d730002") + number.to_bytes(8, "big")
        sites.append(LoadSite(name, SiteName(_COUNTRY, _CITY, site_id), file, number))
    return Load(tuple(sites))


async def enrol(deployment: ChaosDeployment, load: Load) -> None:
    """Enrol all sites and run their agents."""
    samples = tuple(site.sample() for site in load.sites)
    scene = await set_scene(deployment, PACKET_RECORDS, samples)
    for actor in scene.sites:
        deployment.run_site(actor.label, actor.settings_file)


def write_plan(load: Load, path: Path) -> Path:
    """State for the oracle what each site was told; it reads times and values from the files by code of its own."""
    sites = [
        {
            "name": site.name,
            "country": site.site.country,
            "city": site.site.city,
            "site_id": site_id_text(site.site.site_id),
            "file": site.file.name,
            "sha256": "",
            "file_rows": None,
            "site_rows": None,
            "only": {},
            "time": {"column": "time", "form": _FORM, "zone": "UTC"},
            "values": [
                {"column": "value", "indicator": _INDICATOR, "data_point": "", "unit": _UNIT, "times": "1"}
            ],
        }
        for site in load.sites
    ]
    plan = {"format": "bkdms-oracle-plan/1", "folder": str(load.sites[0].file.parent), "sites": sites}
    path.write_text(json.dumps(plan), "utf-8")
    return path
