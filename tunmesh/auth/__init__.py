"""How two nodes prove who they are: the handshake, node keys, signed records."""
