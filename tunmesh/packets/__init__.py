"""Packet formats: IP behind a virtio header, ICMP, flows, captures."""
