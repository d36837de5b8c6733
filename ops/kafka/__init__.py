"""kafka: how the embedded stack sets it up and runs it."""
