"""Packets to peers over UDP, beside the link."""
