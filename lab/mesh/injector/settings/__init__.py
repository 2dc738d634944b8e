"""Reads the settings of a sidecar: those of the mesh, and those of the pod, which win."""
