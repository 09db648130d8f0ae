"""What is told about a node: health, status, metrics, explanations."""
