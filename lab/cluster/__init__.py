"""Brings a lab up on any machine (Docker, images, node, control plane) and removes it again."""
