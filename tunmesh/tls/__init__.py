"""TLS: contexts, transports, and the one port that a node listens on."""
