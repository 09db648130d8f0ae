"""Names of the mesh."""
