"""The injector: a pod or a manifest in, the same with a sidecar out. Pure."""
