"""Reads the current state of pods: API objects, sockets, routes, netfilter, processes, Envoy.

The readings are plain data. This room does not check them; the chapters do.
"""
