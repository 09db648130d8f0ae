"""Floating addresses in simulated meshes: programs that claim one, and what has to hold of it."""
