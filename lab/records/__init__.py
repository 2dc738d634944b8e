"""What a run leaves behind: records of chapters, steps and commands, and their files."""
