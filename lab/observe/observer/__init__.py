"""The observer: a container beside the node that looks into network namespaces."""
