"""Which nodes are in the mesh, their links and addresses, and what they say about each other."""
