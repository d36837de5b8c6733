"""All targets by name."""

from tests.fuzz import core_targets, edge_targets, file_targets, log_targets
from tests.fuzz.target import Target

_ALL = (*core_targets.TARGETS, *log_targets.TARGETS, *edge_targets.TARGETS, *file_targets.TARGETS)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
