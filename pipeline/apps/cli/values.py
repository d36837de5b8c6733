"""Reading what users type, and small files that people carry."""

from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.core.names import SiteName, is_site_name, parse_site_id
from pipeline.core.sealing import Suite


def parse_site(text: str) -> SiteName:
    """Read a site's name, written COUNTRY/CITY/SITE_ID.

    Raises:
        ConfigError: it is not one.
    """
    country, _, rest = text.partition("/")
    city, _, identifier = rest.rpartition("/")
    try:
        name = SiteName(country, city, parse_site_id(identifier))
    except ValueError:
        name = SiteName("", "", b"")
    if not is_site_name(name):
        raise ConfigError(f"{text!r} is no site; write it as COUNTRY/CITY/SITE_ID: US/unlocode:USMES/fd00::1")
    return name


def parse_equipment(text: str) -> bytes:
    """Read the identifier of equipment (16 bytes), written in IPv4 or IPv6 form.

    Raises:
        ConfigError: it is not one.
    """
    try:
        return parse_site_id(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no identifier in IPv4 or IPv6 form, such as fd00::1") from None


def parse_suite(name: str) -> Suite:
    """Read the name of a cipher suite.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {item.name.lower(): item for item in Suite}
    if name not in known:
        raise ConfigError(f"cipher suite {name!r} is unknown; choose from {', '.join(known)}")
    return known[name]


def suite_option(name: str) -> Suite:
    """Read the ``--suite`` of a benchmark, in any case.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return Suite[name.upper()]
    except KeyError:
        raise ConfigError(f"--suite {name}: choose xwing, light or p256") from None


def gmt_ms(moment: datetime) -> int:
    """Return a time as milliseconds since 1970; one without a zone is GMT."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def read_file(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write a file that anybody may read.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name another file") from None
