"""Reading the files of older statements about a chain that an auditor trusts."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.core.anchor import MAX_ANCHOR_BYTES, Anchor, AnchorProblem, parse_anchor
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis


def read_anchors(genesis: Genesis, files: Iterable[Path]) -> list[Anchor]:
    """Return the anchors in these files, each checked by itself.

    Raises:
        ConfigError: a file can't be read, or is no checkpoint, proof or receipt of this chain (code ``anchor``).
    """
    return [_read(genesis, path) for path in files]


def _read(genesis: Genesis, path: Path) -> Anchor:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ANCHOR_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--trusted {path} can't be read: {error.strerror}", code="anchor") from None
    found = parse_anchor(genesis, data, str(path))
    if isinstance(found, AnchorProblem):
        raise ConfigError(
            f"--trusted {path} can't be trusted: {found.detail}; give a checkpoint, a proof or a site's receipt"
            " of this chain",
            code="anchor",
        )
    return found
