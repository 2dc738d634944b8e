"""What an API server or a program of the sidecar would refuse of an injected pod, by its cause."""
