"""Whole meshes in memory, on a fake clock, for tests and for the simulator."""
