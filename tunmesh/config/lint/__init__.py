"""What is wrong or doubtful about a config file, everything at once."""
