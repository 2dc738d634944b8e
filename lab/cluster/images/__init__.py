"""Plans and builds the lab's images: node, control plane, proxy, nginx, observer, and Istio's."""
