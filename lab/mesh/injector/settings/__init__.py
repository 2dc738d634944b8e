"""What the mesh and a pod ask of the sidecar: policy, annotations, ProxyConfig, own containers."""
