"""Refuses pods that an API server or the sidecar would refuse after injection; names the cause."""
