"""Who is in the mesh: nodes, their links and addresses, and what they say of each other."""
