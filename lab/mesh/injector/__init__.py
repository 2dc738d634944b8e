"""The injector: adds a sidecar to pods and manifests. Pure."""
