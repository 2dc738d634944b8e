"""The application's probes and hooks, done as kubelet does them: HTTP/1, HTTP/2, gRPC, TCP."""
