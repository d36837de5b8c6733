"""Real city measurements that come with the program, and the sampling sites they were collected at.

``ATTRIBUTION.md`` beside this file says whose they are and under which licence.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from connectors.mapping import SiteMapping, read_mapping
from connectors.sources.csv_source import CsvSource
from pipeline.core.names import SiteName, is_text, parse_site_id
from pipeline.core.settings_table import Table
from schemas.catalogue import catalogue


@dataclass(frozen=True, slots=True)
class SampleSite:
    """One collecting equipment: its registry name, its file in this folder, and how to read it.

    ``settings`` is the mapping as written, for writing a site's own settings file.
    """

    name: str
    place: str
    site: SiteName
    file: str
    mapping: SiteMapping
    settings: dict[str, Any]

    @property
    def indicators(self) -> tuple[str, ...]:
        """Codes of the indicators that the site feeds."""
        return tuple(dict.fromkeys(rule.indicator for rule in self.mapping.values))

    @property
    def path(self) -> Path:
        """Where the bundled file is."""
        return sample_folder() / self.file

    def source(self, path: Path | None = None) -> CsvSource:
        """A source that reads the bundled file, or a copy of it at ``path``."""
        return CsvSource(path or self.path, self.mapping)


def sample_folder() -> Path:
    """The folder of the bundled files. Wheels are installed unpacked, so it is a real folder."""
    return Path(str(files(__name__)))


@cache
def sample_sites() -> tuple[SampleSite, ...]:
    """All bundled sites, in the order of ``sites.toml``.

    Raises:
        ConfigError: the file is wrong; the message names the key.
    """
    table = Table(tomllib.loads((sample_folder() / "sites.toml").read_text("utf-8")), "samples")
    return tuple(_site(item) for item in table.tables("sites"))


def _site(table: Table) -> SampleSite:
    settings = table.values("mapping")
    sample = SampleSite(
        name=table.text("name"),
        place=table.text("place"),
        site=SiteName(table.text("country"), table.text("city"), _site_id(table)),
        file=table.text("file"),
        mapping=read_mapping(settings),
        settings=settings,
    )
    table.done()
    if sample.site.country not in catalogue().countries:
        raise table.error(
            "country", f"is {sample.site.country!r}; use an ISO 3166-1 alpha-2 code such as 'IT'"
        )
    scheme, _, code = sample.site.city.partition(":")
    if not (is_text(sample.site.city) and scheme and code):
        raise table.error("city", f"is {sample.site.city!r}; use scheme:code, e.g. 'unlocode:USSEA'")
    return sample


def _site_id(table: Table) -> bytes:
    try:
        return parse_site_id(table.text("site_id"))
    except ValueError:
        raise table.error("site_id", "must be an IPv4 or IPv6 address") from None
