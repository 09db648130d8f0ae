"""Attacks on real nodes by strangers, members and local processes, and their effects."""
