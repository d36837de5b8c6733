"""Sources for sampling sites, sinks for consumers, sample measurements."""
