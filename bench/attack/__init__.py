"""Attacks on real nodes by strangers, members and local processes, and what each one achieves."""
