"""Builds a Situation from an API server's answers to reads and dry-run creates."""
