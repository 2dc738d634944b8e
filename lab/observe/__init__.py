"""Reads the current state of pods: API objects, sockets, routes, netfilter, processes, Envoy.

The readings are plain data. This package does not check them; the chapters of the
walkthrough (in scenarios/) do.
"""
