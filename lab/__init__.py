"""Sidecar Lab: what sidecar injection does to a pod, proven on a live cluster."""

__version__ = "0.1.0"
