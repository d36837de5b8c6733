"""Where site agents read city indicators from."""
