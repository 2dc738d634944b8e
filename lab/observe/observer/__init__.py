"""The observer: a container that reads the processes and network namespaces of a node's pods."""
