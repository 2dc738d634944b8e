"""Asks an API server, with reads and dry-run creates, and builds a Situation from its answers."""
