"""The command line: `tunmesh …`, and the original's two commands."""
