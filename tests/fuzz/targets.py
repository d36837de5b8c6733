"""All targets by name."""

from tests.fuzz import core_targets, log_targets
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (*core_targets.TARGETS, *log_targets.TARGETS)}
