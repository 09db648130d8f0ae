"""The path of a packet through a node: from the tun to a peer, and from a peer to the tun."""
