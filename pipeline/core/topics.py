"""Names of the Kafka topics. Owns names only: their settings are ``ops.kafka.topic_table``'s."""

import re
from dataclasses import dataclass

MAX_PREFIX_CHARACTERS = 100
_PREFIX = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Topics:
    """The eight topics of one deployment; ``prefix`` keeps several deployments on one broker apart.

    Raises:
        ValueError: the prefix holds a character that Kafka refuses in a topic name, or is too long.
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        if len(self.prefix) > MAX_PREFIX_CHARACTERS or not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                f"topic prefix {self.prefix!r}: use up to {MAX_PREFIX_CHARACTERS} of A-Z a-z 0-9 . _ -"
            )

    @property
    def packets(self) -> str:
        """Packets as sites send them; key = site."""
        return f"{self.prefix}kpi.packets.v1"

    @property
    def chain(self) -> str:
        """The chain log: admitted packets, control records, ticks; one partition per chain."""
        return f"{self.prefix}kpi.chain.v1"

    @property
    def blocks(self) -> str:
        """Committed blocks with their certificates, kept for ever."""
        return f"{self.prefix}kpi.blocks.v1"

    @property
    def rejected(self) -> str:
        """Dead letters: original bytes and reason."""
        return f"{self.prefix}kpi.rejected.v1"

    @property
    def cosignatures(self) -> str:
        """What accounting nodes sign about derived blocks."""
        return f"{self.prefix}kpi.cosignatures.v1"

    @property
    def sites(self) -> str:
        """Site registrations for validators; compacted."""
        return f"{self.prefix}kpi.sites.v1"

    @property
    def observations(self) -> str:
        """Plain observations, platform zone only."""
        return f"{self.prefix}kpi.observations.v1"

    @property
    def assessments(self) -> str:
        """Quality, availability and scores, platform zone only."""
        return f"{self.prefix}kpi.assessments.v1"

    def all(self) -> tuple[str, ...]:
        """The eight names, in the order of the flow."""
        return (
            self.packets,
            self.chain,
            self.blocks,
            self.rejected,
            self.cosignatures,
            self.sites,
            self.observations,
            self.assessments,
        )

    def named(self, text: str) -> str | None:
        """Return the topic that is meant by its full name, one without our prefix, or a short one (``blocks``)."""
        for topic in self.all():
            plain = topic.removeprefix(self.prefix)
            if text in (topic, plain, plain.split(".")[1]):
                return topic
        return None
