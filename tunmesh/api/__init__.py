"""What a node serves over HTTP: the public pages, the control socket, the live page, metrics."""
