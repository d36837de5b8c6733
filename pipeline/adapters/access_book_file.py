"""A registrar's access book in a file beside its key, mode 0600. Whoever holds the journal's lock may write it."""

import json
from pathlib import Path
from typing import Any

from pipeline.adapters.private_files import read_private, replace_private
from pipeline.core.access_book import AccessBook, GivenToken, SeenRequest, Token
from pipeline.core.errors import ConfigError
from pipeline.core.names import SiteName, parse_site_id, site_id_text

_FORMAT = "bkdms-access-book/v1"
_MAX_FILE_BYTES = 64 << 20


class AccessBookFile:
    """The access book of one registrar key on one chain."""

    def __init__(self, key_file: Path, chain: bytes) -> None:
        self.path = key_file.with_name(f"{key_file.stem}.{chain[:4].hex()}.access.json")

    def load(self) -> AccessBook:
        """Return what was saved last; an empty book where nothing was.

        Raises:
            ConfigError: the file is open to others or damaged.
        """
        if not self.path.exists():
            return AccessBook()
        try:
            document = json.loads(read_private(self.path, _MAX_FILE_BYTES))
            if document["format"] != _FORMAT:
                raise ValueError("format")
            given = map(_token, document["tokens"])
            return AccessBook(
                {item.token.token_id: item for item in given},
                {bytes.fromhex(digest): _request(item) for digest, item in document["requests"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(
                f"registrar's access book {self.path} is damaged; restore it from a backup, or delete it: then "
                "tokens given out before are void, and sites have to make new requests",
                code="config.access_book",
            ) from None

    def save(self, book: AccessBook) -> None:
        """Return once the book is on disk.

        Raises:
            ConfigError: the place can't be written to.
        """
        document = {
            "format": _FORMAT,
            "tokens": [_token_fields(item) for item in book.tokens.values()],
            "requests": {digest.hex(): _request_fields(item) for digest, item in book.requests.items()},
        }
        replace_private(self.path, (json.dumps(document, indent=1) + "\n").encode())


def _site_fields(site: SiteName) -> list[str]:
    return [site.country, site.city, site_id_text(site.site_id)]


def _site(fields: list[str]) -> SiteName:
    country, city, site_id = fields
    return SiteName(country, city, parse_site_id(site_id))


def _token_fields(given: GivenToken) -> dict[str, Any]:
    return {
        "id": given.token.token_id.hex(),
        "mac_key": given.token.mac_key.hex(),
        "site": _site_fields(given.site),
        "bundle": given.bundle.hex(),
        "expires_ms": given.expires_ms,
        "used_by": given.used_by.hex(),
    }


def _token(fields: dict[str, Any]) -> GivenToken:
    return GivenToken(
        Token(bytes.fromhex(fields["id"]), bytes.fromhex(fields["mac_key"])),
        _site(fields["site"]),
        bytes.fromhex(fields["bundle"]),
        int(fields["expires_ms"]),
        bytes.fromhex(fields["used_by"]),
    )


def _request_fields(seen: SeenRequest) -> dict[str, Any]:
    return {"site": _site_fields(seen.site), "site_key": seen.site_key.hex(), "time_ms": seen.time_ms}


def _request(fields: dict[str, Any]) -> SeenRequest:
    return SeenRequest(_site(fields["site"]), bytes.fromhex(fields["site_key"]), int(fields["time_ms"]))
