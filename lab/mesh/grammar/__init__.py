"""Texts of annotations, flags and variables to values: one grammar for all programs."""
