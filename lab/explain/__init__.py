"""Explains why a pod was, was not, or would be injected, as a chain of questions with repairs.

gather (reads and dry runs) → situation (frozen data) → verdict (pure) → render.
"""
