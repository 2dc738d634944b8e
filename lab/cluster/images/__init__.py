"""The lab's images: node, control plane, proxy, nginx, observer, and those of Istio."""
