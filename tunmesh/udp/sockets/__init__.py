"""The UDP port on a socket of the kernel."""
