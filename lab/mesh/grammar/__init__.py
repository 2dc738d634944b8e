"""Parses the values of annotations, flags and variables, in the same way for all programs."""
