"""One connection between two nodes: its messages, its queue, how it ends."""
