"""Asks a Kubernetes API server: kubeconfig files, requests, watches. The operator's side only."""
