"""Installs and removes the control plane in the cluster: that of our mesh, or Istio's."""
