"""Helpers for the nox sessions: each session writes a log; the last lines say what failed."""
