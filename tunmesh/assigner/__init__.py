"""The helper process that changes the tun while the node runs, and the node's side of it."""
