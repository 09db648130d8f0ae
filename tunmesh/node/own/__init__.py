"""What a node knows of itself and looks after: its addresses, its URL, its names."""
