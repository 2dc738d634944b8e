"""Runs chapters: steps, breaks, commands, pytest, and the paced workshop."""
