"""The composition root: `twistd tunmesh` starts here, and a reload."""
