"""Helpers for nox: write a log of each session; print at the end which tests failed."""
