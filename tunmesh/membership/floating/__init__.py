"""Floating addresses: which node has one, and when it moves to another."""
