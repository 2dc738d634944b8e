"""Mutated reviews and manifests, far more of them than a unit test has time for."""
