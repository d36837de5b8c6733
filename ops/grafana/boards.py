"""All dashboards, in the order in which they are documented."""

from typing import Final

from ops.grafana.board import Board
from ops.grafana.city import CITY
from ops.grafana.ledger import LEDGER
from ops.grafana.operations import OPERATIONS
from ops.grafana.sites import SITES

BOARDS: Final[tuple[Board, ...]] = (OPERATIONS, LEDGER, CITY, SITES)
