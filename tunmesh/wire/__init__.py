"""The wire format between nodes: frames and messages."""
