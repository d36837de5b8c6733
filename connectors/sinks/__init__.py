"""Where consumers put what they read."""
