"""What a case of an alert is made of: series with their values, when to look, and what is to fire.

Values are promtool's: ``1x20`` is 1 and 20 times 1 more, ``0+5x20`` grows by 5. A sample every 15 s, so four a minute.
"""

from dataclasses import dataclass
from typing import Final

CHAIN: Final = "c.example/1"


@dataclass(frozen=True, slots=True)
class Case:
    """Series with their values, when to look (``12m``), and what is to fire then: labels and summary, or nothing."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] | None = None
    summary: str = ""
    # Before the alert has waited for as long as it has to.
    early: str = "1m45s"

    @property
    def fires(self) -> bool:
        """Whether the alert is expected."""
        return self.labels is not None


def of(metric: str, instance: str, **labels: str) -> str:
    """Return a series of an instance, whose name tells its job: node-1 is a node."""
    own = {"chain": CHAIN, "job": instance.partition("-")[0], "instance": instance, **labels}
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in own.items()) + "}"


def at_program(instance: str, **labels: str) -> dict[str, str]:
    """Return the labels of an alert about one program."""
    return {"chain": CHAIN, "job": instance.partition("-")[0], "instance": instance, **labels}


def on_chain(**labels: str) -> dict[str, str]:
    """Return the labels of an alert about the chain."""
    return {"chain": CHAIN, **labels}


def height(stage: str, instance: str = "node-1") -> str:
    """Return the series of a node's height at a stage."""
    return of("bkdms_node_height", instance, stage=stage)


def retries(code: str, instance: str = "platform") -> str:
    """Return the series of a program's retries by code."""
    kind = "node" if instance.startswith("node") else "worker"
    return of(f"bkdms_{kind}_retries_total", instance, code=code)


def votes(node: str, outcome: str, instance: str = "node-1") -> str:
    """Return the series of votes in a node's name, as an instance counts them."""
    return of("bkdms_node_votes_total", instance, node=node, outcome=outcome)


def outcomes(outcome: str, instance: str = "node-1") -> str:
    """Return the series of a node's outcomes of chain log records."""
    return of("bkdms_chain_outcomes_total", instance, outcome=outcome)
