"""Explains why a pod was, was not, or would be injected: a chain of questions, and the repairs.

The package `gather` reads from the API server, sends dry runs, and builds a Situation (frozen
data). The module `verdict` derives an Explanation from it and does no I/O. The module `render`
formats the Explanation.
"""
