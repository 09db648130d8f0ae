"""In-memory meshes that several tests start from."""

from __future__ import annotations

from tunmesh.testing.mesh import Member, Mesh


def complete(*names: str, seed: int = 0) -> tuple[Mesh, list[Member]]:
    """A full mesh of these nodes."""
    mesh = Mesh(seed)
    members = [mesh.add(name) for name in names]
    mesh.until(mesh.is_complete)
    return mesh, members
