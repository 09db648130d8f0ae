"""What a node logs."""
