"""Reaching other nodes: bootstrap, reconnecting, who may be dialed, and how often."""
