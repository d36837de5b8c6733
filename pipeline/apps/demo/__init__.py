"""The demonstration: real measurements through every part, faults and hostile clients on the way, proof at the end."""
