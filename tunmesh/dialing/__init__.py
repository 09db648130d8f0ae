"""Reaching other nodes: bootstrap, reconnecting, name lookups, dial limits."""
