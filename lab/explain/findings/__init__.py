"""Finds what is wrong with a pod, from its spec, its status, its events and its logs.

Other programs write these texts, so they are read with limits and used only in sentences.
"""
