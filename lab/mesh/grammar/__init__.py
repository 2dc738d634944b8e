"""Reads the texts of annotations, flags and variables: one grammar for all programs."""
