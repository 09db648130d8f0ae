"""A node: what the machines below decide becomes effects here."""
