"""The records of a run (chapters, steps, commands) and their files on disk."""
