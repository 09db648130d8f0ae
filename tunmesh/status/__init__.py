"""A node's state as frozen values."""
