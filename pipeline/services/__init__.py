"""Use cases over the core and the ports; they know no concrete system."""
