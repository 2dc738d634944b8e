"""Builds programs, root file systems and images, and caches them by the hash of their inputs."""
