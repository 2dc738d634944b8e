"""Settings of a sidecar, by mesh and pod: policy, annotations, ProxyConfig, own containers."""
