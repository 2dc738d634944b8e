"""Why a pod was, was not, or would be injected: a chain of yes and no, and what to change.

gather (the Kubernetes API, read only) → model (frozen data) → judge (pure) → render.
"""
