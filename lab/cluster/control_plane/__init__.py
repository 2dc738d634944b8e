"""What runs in the cluster: certificates, manifests, our mesh or Istio."""
