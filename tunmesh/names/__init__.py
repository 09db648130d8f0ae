"""Names of the mesh: who has which, and answering DNS queries that come out of the tun."""
