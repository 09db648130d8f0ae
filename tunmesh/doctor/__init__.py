"""Finds out why a node does not work here: each step that a start or a link takes, tried."""
