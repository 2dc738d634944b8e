"""The node: kind, its container, whose it is, and what is left of it."""
