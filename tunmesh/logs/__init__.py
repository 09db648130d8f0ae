"""The log: what is written, how it looks, and how often."""
