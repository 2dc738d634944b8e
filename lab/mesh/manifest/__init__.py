"""Reads and writes manifests, and checks their fields as an API server does."""
