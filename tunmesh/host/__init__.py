"""The machine that a node runs on: privileges, processes, files, ports."""
