"""Runs the application's probes and hooks as kubelet does: HTTP/1, HTTP/2, gRPC and TCP."""
