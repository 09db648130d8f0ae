"""The keys: one declaration each, and the rules inside a section."""
