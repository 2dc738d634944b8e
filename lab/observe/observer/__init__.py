"""The observer: a container beside the node that reads processes and network namespaces of pods."""
