"""Hundreds of nodes on one fake clock and one source of chance: `tunmesh simulate`."""
