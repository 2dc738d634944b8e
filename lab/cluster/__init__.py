"""From a bare machine to a ready lab: Docker, images, node, control plane, and back."""
