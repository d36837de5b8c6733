"""Gets a machine ready: ``setup.sh`` before there is an environment, ``python -m ops.setup`` in it."""
