"""How often a long-running program looks for cycles among its objects.

Records, blocks and packets make many objects and no cycles: those go as soon as nobody holds them. Looking for cycles
as often as Python does by default took a node one twentieth of its processor time.
"""

import gc
from typing import Final

_NEW_OBJECTS: Final = 100_000
"""Objects made, less those gone, until it looks among them."""


def look_seldom() -> None:
    """Let what there is now stay unlooked at for good, and look among new objects seldom; for the whole process."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
