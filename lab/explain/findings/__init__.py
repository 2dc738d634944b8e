"""Finds what is wrong with a pod, from its spec, its status, its events and its logs.

Other programs write the events and logs. So this package reads them with size limits, and uses
their text only in sentences for the reader.
"""
