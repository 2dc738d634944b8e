"""Sidecar Lab shows what sidecar injection does to a pod, and proves it on a live cluster."""

__version__ = "0.1.0"
