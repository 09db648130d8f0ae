"""The bytes that nodes exchange: frames and messages."""
