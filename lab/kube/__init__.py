"""The lab's own client of a Kubernetes API server: reads kubeconfig files, requests, watches."""
