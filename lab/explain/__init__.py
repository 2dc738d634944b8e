"""Why a pod was, was not, or would be injected: a chain of yes and no, and what to change.

ask_cluster (reads, one dry run) → situation (frozen data) → verdict (pure) → render.
"""
