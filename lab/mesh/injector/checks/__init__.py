"""Refuses pods that an API server or the sidecar would refuse once injected, by the cause."""
