"""One connection between two nodes: its messages, its queue, its end."""
