"""The helper process that puts automatic addresses on the tun, and the node's side of it."""
