"""A node: what the folders below decide becomes effects on links, routes, dials and the log."""
