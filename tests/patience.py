"""How long the tests wait for what must come."""

PATIENCE = 300
"""Seconds. Much more than the slowest machine under load needs; nobody waits for it otherwise."""
