"""Meshes in memory that several tests begin with."""

from __future__ import annotations

from tunmesh.testing.mesh import Member, Mesh


def complete(*names: str, seed: int = 0) -> tuple[Mesh, list[Member]]:
    """A mesh of these nodes, all linked."""
    mesh = Mesh(seed)
    members = [mesh.add(name) for name in names]
    mesh.until(mesh.is_complete)
    return mesh, members
