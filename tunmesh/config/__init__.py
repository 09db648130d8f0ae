"""The configuration: every key declared once, and what is made of that."""
