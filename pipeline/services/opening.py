"""Which registry entry admitted each packet: what opening a packet is judged by."""

from pipeline.core.admission import enact
from pipeline.core.control import Control
from pipeline.core.packet import Packet
from pipeline.core.replica import Extended
from pipeline.core.state import ChainState, Site, Tables


class AdmittingSites:
    """Follows the registry through verified blocks, entry by entry, from a state on."""

    def __init__(self, state: ChainState) -> None:
        # A packet is judged by the registry entry that admitted it, not by that at the end of its block.
        self._registry = ChainState(state.genesis, Tables(sites=dict(state.tables.sites)))

    def packets(self, extended: Extended) -> list[tuple[Packet, Site]]:
        """Return the packets of the next block in order, each with the entry that admitted it."""
        found: list[tuple[Packet, Site]] = []
        for admitted in extended.admitted:
            if isinstance(admitted, Packet):
                found.append((admitted, self._registry.tables.sites[admitted.site]))
            elif isinstance(admitted, Control):
                enact(self._registry, admitted)
        self._registry.take_changes()
        return found
