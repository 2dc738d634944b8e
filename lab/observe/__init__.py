"""Reads the current state of pods: API, sockets, routes, netfilter, processes, Envoy.

The readings are plain data. This room makes no claims about them; the chapters do.
"""
