"""The injector: adds a sidecar to pods and manifests, or removes it."""
