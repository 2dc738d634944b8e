"""Explains why a pod was, was not, or would be injected, as a chain of questions with repairs.

ask_cluster (reads and one dry run) → situation (frozen data) → verdict (pure) → render.
"""
