"""The local issuer of tokens: its key, the keys that it publishes, and tokens for people and programs at hand."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.keystore import new_signing_key
from pipeline.adapters.private_files import replace_private
from pipeline.adapters.tokens import MAX_SUBJECT_CHARS, TokenPlan, issue_token, public_jwks
from pipeline.config import AccessSettings, required
from pipeline.core.errors import ConfigError
from pipeline.core.keys import PublicKey, Use
from pipeline.core.permit import FIELDS, Action, Permit, parse_permit
from pipeline.core.signing import Ed25519Signer

JWKS_NAME = "jwks.json"
_TOKEN_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Signs with the key in ``key_file``, made when it is missing; ``jwks_file`` is what the API reads."""

    keys: KeyFiles
    key_file: Path
    jwks_file: Path

    def signer(self) -> Ed25519Signer:
        """Return the signer, and see to it that its public half is published.

        Raises:
            ConfigError: a file is open to others, damaged, or can't be written.
        """
        signer = self.keys.signer_or_new(self.key_file, Use.TOKEN)
        assert isinstance(signer, Ed25519Signer)  # noqa: S101  the default algorithm
        if not self.jwks_file.exists():
            self._publish(signer.public)
        return signer

    def rotate(self, *, is_lost: bool) -> PublicKey:
        """Sign with a new key from now on. Tokens of the old one stay good until they end, unless it ``is_lost``.

        Raises:
            ConfigError: a file is open to others, damaged, or can't be written.
        """
        old = self.signer().public
        new = new_signing_key(Use.TOKEN)
        draft = self.key_file.with_name(f"{self.key_file.stem}.next{self.key_file.suffix}")
        draft.unlink(missing_ok=True)
        self.keys.save(draft, new)
        # Published first: the API is to know the key before the first token of it.
        self._publish(new.public, *(() if is_lost else (old,)))
        draft.replace(self.key_file)
        return new.public

    def _publish(self, *keys: PublicKey) -> None:
        replace_private(self.jwks_file, public_jwks(keys))


def issuer_of(access: AccessSettings, keys: KeyFiles) -> TokenIssuer:
    """Return the local issuer that the settings describe."""
    jwks = access.jwks_file or access.token_key.with_name(JWKS_NAME)
    return TokenIssuer(keys, access.token_key, jwks)


def new_token(
    access: AccessSettings,
    issuer: TokenIssuer,
    subject: str,
    permits: tuple[Permit, ...],
    life_s: int,
    *,
    now_s: Callable[[], float] = time.time,
) -> str:
    """Return a token for somebody, good for ``life_s`` seconds.

    Raises:
        ConfigError: there is no issuer in the settings, the name can't be in a token, or the life is too long.
    """
    name = required(access.issuer, "access.issuer")
    if not 0 < len(subject) <= MAX_SUBJECT_CHARS or not (subject.isascii() and subject.isprintable()):
        raise ConfigError(f"name the holder in 1 to {MAX_SUBJECT_CHARS} printable ASCII characters")
    if not 1 <= life_s <= access.max_token_s:
        raise ConfigError(
            f"a token lasts at most {access.max_token_s} s (access.max_token_s); get a new one then"
        )
    plan = TokenPlan(
        name, access.audience, subject, permits, int(now_s()), life_s, token_hex(_TOKEN_ID_BYTES)
    )
    return issue_token(issuer.signer(), plan)


def read_permits(texts: list[str]) -> tuple[Permit, ...]:
    """Return the permits that scopes write.

    Raises:
        ConfigError: one of them is none; the message shows the forms.
    """
    found = [parse_permit(text) for text in texts]
    wrong = [text for text, permit in zip(texts, found, strict=True) if permit is None]
    if wrong or not found:
        forms = ", ".join("/".join((action.value, *map(str.upper, FIELDS[action]))) for action in Action)
        raise ConfigError(
            f"{wrong[0] if wrong else 'nothing'!r} is no scope; write one of {forms}, each part a value "
            "(percent-encoded) or * for any"
        )
    return tuple(permit for permit in found if permit is not None)
