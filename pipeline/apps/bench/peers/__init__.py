"""Programs that others would use for a part of the work, measured beside ours on the same packets."""
