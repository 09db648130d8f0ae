"""Formats of packets: IP behind a virtio header, ICMP, flows, captures."""
