"""Authentication of two nodes: the handshake, node keys, signed records."""
