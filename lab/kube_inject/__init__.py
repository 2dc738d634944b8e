"""Implements `lab kube-inject`, which injects files and usually starts without loading click."""
