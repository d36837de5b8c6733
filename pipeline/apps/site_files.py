"""What a site keeps beside its signing key: the bundle, the requests that it made, its transport certificate."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.private_files import replace_private
from pipeline.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """The files of one site; ``key`` is that of its signing key."""

    key: Path

    @property
    def bundle(self) -> Path:
        """The bundle that the site got out of band."""
        return self.key.with_name("bundle.json")

    @property
    def request(self) -> Path:
        """The request whose answer is in force, or awaited."""
        return self.key.with_name("request.json")

    @property
    def next_key(self) -> Path:
        """The signing key that is to replace the one in force."""
        return self.key.with_suffix(f".next{self.key.suffix}")

    @property
    def former_key(self) -> Path:
        """The signing key that was replaced last."""
        return self.key.with_suffix(f".former{self.key.suffix}")

    @property
    def next_request(self) -> Path:
        """The request to replace the key."""
        return self.key.with_name("request.next.json")

    @property
    def sent(self) -> Path:
        """Where the last request was sent to, and its name there."""
        return self.key.with_name("request.sent.json")

    @property
    def transport(self) -> Path:
        """Folder of the transport certificate: ca.pem, certificate.pem, key.pem."""
        return self.key.with_name("tls")

    @property
    def asked_transport_key(self) -> Path:
        """Private key of the certificate that was asked for last."""
        return self.transport / "asked.key.pem"

    def requests(self) -> tuple[Path, ...]:
        """The requests that may be answered, the newest first."""
        return tuple(path for path in (self.next_request, self.request) if path.exists())

    def take_up_key(self) -> None:
        """Put the next key in the place of the one in force, which is kept; may be done again after a crash.

        Raises:
            ConfigError: the place can't be written to.
        """
        try:
            if self.next_key.exists():
                self.former_key.unlink(missing_ok=True)
                os.link(self.key, self.former_key)
                self.next_key.replace(self.key)
            if self.next_request.exists():
                self.next_request.replace(self.request)
        except OSError as error:
            raise ConfigError(f"{self.key.parent}: {error.strerror}", code="config.file") from None

    def take_up_certificate(self, certificate: str, ca: str) -> None:
        """Put the asked transport key, its certificate and the CA in place, the key first.

        Raises:
            ConfigError: the place can't be written to.
        """
        if ca:
            replace_private(self.transport / "ca.pem", ca.encode())
        try:
            if self.asked_transport_key.exists():
                self.asked_transport_key.replace(self.transport / "key.pem")
        except OSError as error:
            raise ConfigError(f"{self.transport}: {error.strerror}", code="config.file") from None
        replace_private(self.transport / "certificate.pem", certificate.encode())
