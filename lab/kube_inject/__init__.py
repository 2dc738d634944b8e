"""Implements `lab kube-inject`, which adds sidecars to manifest files, or removes them."""
