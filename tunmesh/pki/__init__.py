"""Certificates, keys and secrets in files."""
