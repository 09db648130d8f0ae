"""Streams through a neighbour: links between nodes that cannot connect to each other."""
